"""What an operator decides: the rules, their sections, the catalogue and the ladders, as frozen values."""
