"""What the commands do: each takes a Session, builds its plan as data and then runs it."""
