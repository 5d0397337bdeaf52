"""What is simulated: scenarios, recorded runs, the jobs drawn for them and how they are answered."""
