"""The hub: the small server that a site runs as the sync endpoint of its token readers.

Its packages; each imports only those before it, beside `clock`, `errors` and `logs`:

    store       the database, its migrations and the one way to write to it
    site        people, groups, tokens, schedules and readers: the rules of a site
    accounts    users, their passwords, log-ins and API tokens
    web         the HTTP parts that the APIs share
    reader_api  the HTTP API of the readers: sync and access log
    kormitel    the exchange with Kormitel: badges, arrivals and back-sync
    tables      CSV import and export
    rest        the REST API of operators and integrators
    server      the server process
    cli         the commands of `kalitka hub`

From Python: `store.database.open_database` opens or makes a database, and
`with store.changes.write_transaction(database) as session:` is the one way to write to it, with
`site.site_secret.set_secret`, `site.readers.add_or_update_reader` and `site.tokens.set_tokens`.
"""
