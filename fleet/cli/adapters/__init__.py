"""The commands about adapters: trained, checked, tried, registered, promoted, rolled back."""
