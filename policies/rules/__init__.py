"""The operator's decisions: the rules, their sections, the catalogue and the ladders, as frozen values."""
