"""The nouns of the fleet: frozen values, standard library only.

Every other room speaks in these words; none of them does any work.
"""
