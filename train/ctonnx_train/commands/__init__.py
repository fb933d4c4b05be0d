"""The commands that make data sets and train; what they need is imported when they are called."""
