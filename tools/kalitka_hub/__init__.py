"""The hub: a site's own server, the sync endpoint of its token readers.

Its packages, in import order: each imports only those above it, and `clock`, `errors`, `logs`.

    store       the database, its migrations and the one way to write to it
    site        people, groups, tokens, schedules, readers and grants, compiled into access rules
    accounts    users, their passwords, logins and API tokens
    web         HTTP parts shared by the APIs
    reader_api  the HTTP API of the readers: sync and access log
    kormitel    the exchange with Kormitel: badges, arrivals and back-sync
    tables      CSV import and export
    rest        the REST API of operators and integrators
    server      the server process
    cli         the commands of `kalitka hub`

From Python: `store.database.open_database` opens or creates a database. The only way to write to
it is `with store.changes.write_transaction(database) as session:`, for example with
`site.site_secret.set_secret`, `site.readers.add_or_update_reader` or `site.tokens.set_tokens`.
"""
