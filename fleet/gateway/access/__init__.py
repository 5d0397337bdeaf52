"""Who may come in, for what, how often, and whether it is the same request again."""
