"""What a site has: people, tokens, readers, schedules, grants, and what readers are told of it."""
