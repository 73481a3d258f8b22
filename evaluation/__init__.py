"""How near results come to the truth: metrics and the commands that print them."""
