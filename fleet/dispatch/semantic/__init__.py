"""The semantic cache in a dispatcher: looking up, promising, and learning from what models answer all the same."""
