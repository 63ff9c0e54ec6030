"""The hub: the small server that a site runs as the sync endpoint of its token readers.

Who wants it from Python: `database.open_database` opens or makes a database, and
`with changes.changing(database) as session:` is the one way to write to it, with
`site_secret.set_secret`, `readers.add_reader` and `tokens.set_tokens`. `app.create_app` is the
server, `cli.hub` the command line.
"""
