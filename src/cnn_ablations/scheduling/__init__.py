"""Which trainings are out of date, how long they take, and running them side by side."""
