"""A site's people, tokens, readers, schedules and grants, and the readers' rules made of them."""
