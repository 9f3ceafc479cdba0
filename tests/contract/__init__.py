"""What every method must keep, whatever it is called: the suite finds a new method by itself."""
