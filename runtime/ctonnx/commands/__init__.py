"""The commands that need nothing but the slim runtime; each is imported when it is called."""
