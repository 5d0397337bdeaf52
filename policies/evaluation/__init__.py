"""How good a cascade or a router is: its cost-quality curve, and how far its confidence can be trusted."""
