"""Encryption and authentication. Spec: wire 10, python-api 3 and 10."""

import socket
import ssl
import struct
import warnings

import pytest

import broker
import certificates
import peer as scripted
from certificates import configuration
from deadline import DEADLINE_S, Stopwatch, take_one, wait_until
from scene import connect, listen

LOCALHOST = "127.0.0.1"


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    return tmp_path_factory.mktemp("certificates")


@pytest.fixture(scope="module")
def authority(directory):
    return certificates.make(directory, "authority")


@pytest.fixture(scope="module")
def stranger(directory):
    """Another authority, which nobody trusts."""
    return certificates.make(directory, "stranger")


@pytest.fixture(scope="module")
def one(directory, authority):
    return certificates.make(directory, "one", authority)


@pytest.fixture(scope="module")
def two(directory, authority):
    return certificates.make(directory, "two", authority)


def endpoint_of(scene, *arguments, **changes):
    return scene.adopt(broker.Endpoint(configuration(*arguments, **changes)))


def exchange(scene, left, right):
    """Both endpoints publish right after `peer()`, both hear the other."""
    here, there = scene.use(left.make_subscriber("/t")), scene.use(right.make_subscriber("/t"))
    assert right.peer(LOCALHOST, listen(left), 0.0)
    right.publish("/t", "from the dialer")
    assert take_one(here) == ("/t", "from the dialer")
    left.publish("/t", "from the listener")
    assert take_one(there) == ("/t", "from the listener")


# --- what works ----------------------------------------------------------------------------------


def test_encryption_is_the_default(scene):
    exchange(scene, scene.adopt(broker.Endpoint()), scene.endpoint())


def test_plain_on_both_sides(scene):
    exchange(scene, scene.endpoint(tls=False), scene.endpoint(tls=False))


def test_two_certificates_of_one_authority(scene, one, two, authority):
    exchange(scene, endpoint_of(scene, one, authority), endpoint_of(scene, two, authority))


def test_a_certificate_that_is_its_own_authority_and_one_configuration_for_both(scene, authority):
    shared = configuration(authority, authority)
    exchange(scene, scene.adopt(broker.Endpoint(shared)), scene.adopt(broker.Endpoint(shared)))


def test_an_encrypted_key(scene, directory, authority, one):
    guarded = certificates.make(directory, "guarded", authority, passphrase="12345")
    exchange(scene, endpoint_of(scene, guarded, authority), endpoint_of(scene, one, authority))


def test_the_longest_passphrase(scene, directory, authority, one):
    guarded = certificates.make(directory, "long", authority, passphrase="p" * 127)
    exchange(scene, endpoint_of(scene, guarded, authority), endpoint_of(scene, one, authority))


def test_names_in_certificates_do_not_matter(scene, directory, authority, one):
    odd = certificates.make(directory, "nobody.example", authority)
    exchange(scene, endpoint_of(scene, one, authority), endpoint_of(scene, odd, authority))


def test_certificates_are_shown_on_the_wire(scene, one, two, authority):
    """A client that is no endpoint of ours gets through with a certificate, and TLS 1.3 is used."""
    endpoint = endpoint_of(scene, one, authority)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(str(authority.certificate_file))
    context.load_cert_chain(str(two.certificate_file), str(two.key_file))
    peer = scene.peer(tls=context)
    peer.dial(listen(endpoint)).shake_hands()
    peer.sync()
    assert peer.encryption[0] == "TLSv1.3"


def test_the_anonymous_suite_is_what_is_negotiated(scene, endpoint):
    peer = scene.peer().dial(listen(endpoint))
    assert peer.encryption == ("TLSv1.2", "AECDH-AES256-SHA")


def test_the_client_hello_is_the_one_everybody_sends(scene, endpoint):
    """Suites and groups as native peers offer them. Spec: wire 10."""
    with socket.create_server((LOCALHOST, 0)) as listener:
        listener.settimeout(DEADLINE_S)
        endpoint.peer_nosync(LOCALHOST, listener.getsockname()[1], 0.0)
        connection, _ = listener.accept()
    with connection:
        connection.settimeout(DEADLINE_S)
        suites, extensions = read_client_hello(connection)
    assert {0x1302, 0x1303, 0x1301, 0xC019} <= set(suites)
    assert set(suites) <= {0x1302, 0x1303, 0x1301, 0xC019, 0x00FF}
    assert extensions[10] == b"\x00\x02\x00\x18"
    assert 0 not in extensions and 16 not in extensions


def read_client_hello(connection):
    def exactly(size):
        data = b""
        while len(data) < size:
            part = connection.recv(size - len(data))
            assert part
            data += part
        return data

    kind, _, size = struct.unpack(">BHH", exactly(5))
    assert kind == 22
    cursor = scripted.Cursor(exactly(size))
    assert cursor.unsigned(1) == 1
    cursor.take(3 + 2 + 32)
    cursor.take(cursor.unsigned(1))
    packed = cursor.take(cursor.unsigned(2))
    suites = struct.unpack(">%dH" % (len(packed) // 2), packed)
    cursor.take(cursor.unsigned(1))
    cursor.take(2)
    extensions = {}
    while cursor.left():
        number = cursor.unsigned(2)
        extensions[number] = cursor.take(cursor.unsigned(2))
    return suites, extensions


# --- what does not, and why ----------------------------------------------------------------------


def refusal(scene, listener, dialer):
    """The dialer fails at once, with an event that says why."""
    errors = scene.use(dialer.make_status_subscriber())
    port = listen(listener)
    with Stopwatch() as took:
        assert dialer.peer(LOCALHOST, port, 0.0) is False
    assert took.seconds < DEADLINE_S
    error = take_one(errors)
    assert error.code() == broker.EC.PeerUnavailable
    assert len(listener.peers()) == len(dialer.peers()) == 0
    text = repr(error)
    print(text)
    assert "unable to connect to remote peer: " in text
    return text.lower()


def test_plain_to_tls(scene):
    text = refusal(scene, scene.endpoint(), scene.endpoint(tls=False))
    assert "tls" in text


def test_tls_to_plain(scene):
    text = refusal(scene, scene.endpoint(tls=False), scene.endpoint())
    assert "tls" in text


def test_a_certificate_of_a_stranger_at_the_dialer(scene, directory, authority, stranger, one):
    other = certificates.make(directory, "other-dialer", stranger)
    # It trusts the right authority but nobody trusts it.
    refusal(scene, endpoint_of(scene, one, authority), endpoint_of(scene, other, authority))


def test_a_certificate_of_a_stranger_at_the_listener(scene, directory, authority, stranger, one):
    other = certificates.make(directory, "other-listener", stranger)
    text = refusal(scene, endpoint_of(scene, other, authority), endpoint_of(scene, one, authority))
    assert "certificate" in text


def test_trusting_the_wrong_authority(scene, authority, stranger, one, two):
    text = refusal(scene, endpoint_of(scene, one, authority), endpoint_of(scene, two, stranger))
    assert "certificate" in text


def test_an_expired_certificate(scene, directory, authority, one):
    old = certificates.make(directory, "old", authority, expired=True)
    text = refusal(scene, endpoint_of(scene, old, authority), endpoint_of(scene, one, authority))
    assert "expired" in text


def test_certificates_at_the_dialer_only(scene, authority, one):
    refusal(scene, scene.endpoint(), endpoint_of(scene, one, authority))


def test_certificates_at_the_listener_only(scene, authority, one):
    refusal(scene, endpoint_of(scene, one, authority), scene.endpoint())


def test_a_failed_client_does_no_harm(scene, authority, one, two):
    endpoint = endpoint_of(scene, one, authority)
    port = listen(endpoint)
    assert scene.endpoint().peer(LOCALHOST, port, 0.0) is False
    assert scene.endpoint(tls=False).peer(LOCALHOST, port, 0.0) is False
    assert endpoint_of(scene, two, authority).peer(LOCALHOST, port, 0.0) is True


@pytest.mark.parametrize("version", ["TLSv1", "TLSv1_1"])
def test_old_versions_are_refused(scene, endpoint, version):
    context = scripted.anonymous_tls(server_side=False)
    context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.maximum_version = ssl.TLSVersion[version]
    with pytest.raises((ssl.SSLError, OSError)):
        scene.peer(tls=context).dial(listen(endpoint))


def test_garbage_on_a_tls_port_does_no_harm(scene, endpoint):
    port = listen(endpoint)
    for garbage in (b"GET / HTTP/1.1\r\n\r\n", bytes(100), b"\x16\x03\x01\xff\xff" + bytes(1000)):
        with socket.create_connection((LOCALHOST, port)) as connection:
            connection.sendall(garbage)
    connect(scene.endpoint(), endpoint)


# --- configurations that cannot work raise at once -----------------------------------------------


def broken(directory, name, content):
    path = directory / name
    path.write_bytes(content)
    return str(path)


@pytest.mark.parametrize("settings", [
    ["openssl_certificate"], ["openssl_key"], ["openssl_cafile"], ["openssl_passphrase"], ["openssl_capath"],
    ["openssl_certificate", "openssl_cafile"], ["openssl_key", "openssl_cafile"],
], ids="+".join)
def test_half_a_configuration(one, authority, directory, settings):
    everything = {
        "openssl_certificate": str(one.certificate_file), "openssl_key": str(one.key_file),
        "openssl_cafile": str(authority.certificate_file), "openssl_capath": str(directory),
        "openssl_passphrase": "secret",
    }
    made = broker.Configuration()
    for name in settings:
        setattr(made, name, everything[name])
    with pytest.raises((ValueError, RuntimeError)) as info:
        broker.Endpoint(made)
    assert "certificate" in str(info.value) or "key" in str(info.value)


@pytest.mark.parametrize("setting", ["openssl_certificate", "openssl_key", "openssl_cafile"])
def test_files_that_are_not_there(one, authority, directory, setting):
    missing = str(directory / "no-such-file.pem")
    with pytest.raises((ValueError, RuntimeError), match="no-such-file.pem"):
        broker.Endpoint(configuration(one, authority, **{setting: missing}))


@pytest.mark.parametrize("setting", ["openssl_certificate", "openssl_key", "openssl_cafile"])
@pytest.mark.parametrize("content", [b"", b"no PEM at all", b"-----BEGIN CERTIFICATE-----\nAAAA\n"])
def test_files_that_hold_something_else(one, authority, directory, setting, content):
    path = broken(directory, "broken.pem", content)
    with pytest.raises((ValueError, RuntimeError)):
        broker.Endpoint(configuration(one, authority, **{setting: path}))


def test_a_wrong_passphrase(directory, authority):
    guarded = certificates.make(directory, "wrong", authority, passphrase="right")
    for passphrase in ("wrong", ""):
        with pytest.raises((ValueError, RuntimeError)) as info:
            broker.Endpoint(configuration(guarded, authority, openssl_passphrase=passphrase))
        assert "right" not in str(info.value)


def test_a_key_of_another_certificate(one, two, authority):
    with pytest.raises((ValueError, RuntimeError)):
        broker.Endpoint(configuration(one, authority, openssl_key=str(two.key_file)))


def test_a_passphrase_nobody_can_use(one, authority):
    with pytest.raises((ValueError, RuntimeError)):
        broker.Endpoint(configuration(one, authority, openssl_passphrase="p" * 2000))


def test_certificates_are_ignored_without_encryption(scene):
    options = broker.BrokerOptions()
    options.disable_ssl = True
    endpoint = scene.adopt(broker.Endpoint(broker.Configuration(options)))
    peer = scene.peer("/t", tls=False).dial(listen(endpoint)).shake_hands()
    peer.sync()
    wait_until(lambda: len(endpoint.peers()) == 1, "the peer")
