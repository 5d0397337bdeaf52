"""The input of simulations: scenarios, recorded runs, the jobs drawn for them and their answers."""
