"""The settings of the network: the check of each, and of their combinations."""

from kalitka import settings

SITE = {
    "address": "192.168.1.20/24",
    "gateway": "192.168.1.1",
    "name_servers": ["192.168.1.1"],
    "server_url": "https://hub.example.org:8443",
    "country": "DE",
}


def faults(**values):
    """Return the faults of these settings, added to those of a valid site."""
    return settings.with_defaults(dict(SITE, **values))[1]


def test_a_site_without_dhcp_can_be_set_up():
    found, wrong = settings.with_defaults(SITE)
    assert not wrong, wrong
    assert {name: found[name] for name in SITE} == SITE


def test_an_address_is_one_with_the_bits_of_its_network():
    form = "address: must be an address with its network's bits, such as 192.168.1.20/24"
    for text in ("192.168.1.20", "192.168.1.20/", "192.168.1.20/0", "192.168.1.20/31"):
        assert faults(address=text, gateway="")[0] == form
    for text in ("192.168.1.20/255.255.255.0", "192.168.1.20/024", "192.168.1.20/-4"):
        assert faults(address=text, gateway="")[0] == form
    for text in ("192.168.1/24", "192.168.1.256/24", "a.b.c.d/24", "192.168.1.20.1/24", "/24"):
        wrong = faults(address=text, gateway="")
        assert wrong[0] == "address: must be an IPv4 address, such as 192.168.1.20", wrong
    for text in ("192.168.1.0/24", "192.168.1.255/24", "10.0.0.3/30", "10.255.255.255/8"):
        assert "network's own address or its broadcast" in faults(address=text, gateway="")[0]
    for text in ("0.0.0.9/24", "127.0.0.1/8", "224.0.0.251/24", "250.1.1.1/8"):
        assert "is not an address that a reader can have" in faults(address=text, gateway="")[0]
    assert faults(address=5)[0] == "address: must be a text"


def test_a_gateway_is_in_the_network_of_the_address_and_is_not_the_reader():
    for gateway in ("192.168.2.1", "10.0.0.1", "192.168.1.20"):
        found, wrong = settings.with_defaults(dict(SITE, gateway=gateway))
        assert wrong[0] == (
            "gateway: %s is not in the network of the address 192.168.1.20/24" % gateway
        ), wrong
        assert found["gateway"] == "" and found["address"] == SITE["address"]
    assert not faults(address="192.168.2.20/23", gateway="192.168.3.1", name_servers=["9.9.9.9"])
    assert not faults(address="10.200.0.9/8", gateway="10.0.0.1")
    wrong = faults(address="", gateway="192.168.1.1")
    assert wrong == ["gateway: it belongs to a fixed address: set address as well"], wrong
    assert faults(gateway="router")[0].startswith("gateway: must be an IPv4 address")


def test_name_servers_are_addresses_and_may_be_set_without_a_fixed_address():
    assert not settings.with_defaults({"name_servers": ["9.9.9.9", "1.1.1.1", "192.168.1.1"]})[1]
    assert "list of at most 3" in faults(name_servers=["9.9.9.9"] * 4)[0]
    assert "must be an IPv4 address" in faults(name_servers=["dns.example.org"])[0]
    assert faults(name_servers="9.9.9.9")[0].startswith("name_servers: must be a list")


def test_a_server_with_a_name_needs_a_name_server_where_none_is_told():
    wrong = faults(name_servers=[])
    assert len(wrong) == 1 and wrong[0].startswith("name_servers: with a fixed address"), wrong
    assert "hub.example.org" in wrong[0]
    for url in ("https://192.168.1.9:8443", "https://hub.local:8443", ""):
        assert not faults(name_servers=[], server_url=url)
    # With DHCP the network gives a name server.
    assert not faults(name_servers=[], address="", gateway="")


def test_what_is_far_away_needs_a_gateway():
    wrong = faults(gateway="", name_servers=[], server_url="https://10.0.0.9:8443")
    assert wrong == ["gateway: without one 10.0.0.9 cannot be reached from 192.168.1.20/24"], wrong
    wrong = faults(gateway="", name_servers=["192.168.1.1", "9.9.9.9"])
    assert wrong == ["gateway: without one 9.9.9.9 cannot be reached from 192.168.1.20/24"], wrong
    assert not faults(gateway="", server_url="https://192.168.1.9")


def test_a_country_is_two_capital_letters():
    for right in ("", "DE", "RU"):
        assert not faults(country=right)
    for wrong in ("de", "DEU", "D1", "Germany"):
        assert faults(country=wrong) == ["country: must be two capital letters, such as DE"]
