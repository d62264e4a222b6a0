"""Facts, written elsewhere in other forms, by readers that follow a run; each can be deleted and made again."""
