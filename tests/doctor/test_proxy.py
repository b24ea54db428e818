"""What stands between browsers and the server, looked at through real ones."""

import subprocess
from pathlib import Path

import pytest

from reconnect_channels.models import ClientSession, ProcessedMessage, Producer, Stream
from tests.servers import HOST, asgi_server, free_port

from .conftest import Doctor, Report

pytestmark = [pytest.mark.servers, pytest.mark.django_db(transaction=True)]

QUICK = '{"GRACE": 1.0}'  # how long nodes look at a stream that nobody follows


def through(doctor: Doctor, port: int, *arguments: str, scheme: str = "ws", **environment: str) -> Report:
    url = f"{scheme}://{HOST}:{port}/ws/notes/"
    return doctor(f"--url={url}", "--patience=2", *arguments, **environment)


@pytest.mark.database
def test_a_good_proxy_passes_everything_and_nothing_of_the_visit_stays(doctor, nginx):
    report = through(doctor, nginx(), "--only=proxy", "--only=trip", RECONNECT_CHANNELS=QUICK)
    assert report.code == 0
    assert report.bad() == {("proxy", "tls")}
    passed = {each["name"] for each in report.findings if each["level"] == "ok"}
    assert passed > {"ready", "upgrade", "subprotocol", "origin", "idle"}
    assert passed > {"connect", "receive", "message", "resume", "cleanup"}
    assert not Stream.objects.exists()
    assert not ClientSession.objects.exists()
    assert not Producer.objects.exists()
    assert not ProcessedMessage.objects.exists()


@pytest.mark.faults
def test_one_that_closes_idle_sockets_is_told_from_the_server(doctor, nginx):
    report = through(doctor, nginx("proxy_read_timeout 1s;"), "--only=proxy", "--patience=6")
    assert report.code == 1
    (idle,) = report.of("proxy", "idle")
    assert idle["level"] == "failure"
    assert "something between cut it" in idle["text"]
    assert "proxy_read_timeout" in idle["advice"]


@pytest.mark.faults
@pytest.mark.slow
@pytest.mark.parametrize("way", ["proxy_set_header", "proxy_hide_header"])
def test_one_that_drops_the_subprotocol(way, doctor, nginx):
    ends = {"proxy_set_header": ' "";', "proxy_hide_header": ";"}
    report = through(doctor, nginx(f"{way} Sec-WebSocket-Protocol{ends[way]}"), "--only=proxy")
    assert report.code == 1
    assert report.level("proxy", "upgrade") == "ok"
    assert report.level("proxy", "subprotocol") == "failure"


@pytest.mark.faults
def test_one_that_passes_no_upgrade(doctor, nginx):
    report = through(doctor, nginx(without="Upgrade"), "--only=proxy")
    assert report.code == 1
    (upgrade,) = report.of("proxy", "upgrade")
    assert "Upgrade" in upgrade["advice"]


@pytest.mark.faults
@pytest.mark.slow
def test_one_that_hides_the_host(doctor, nginx):
    report = through(doctor, nginx("proxy_set_header Host 127.0.0.1;", without="http_host"), "--only=proxy")
    (origin,) = report.of("proxy", "origin")
    assert origin["level"] == "failure"
    assert "proxy_set_header Host" in origin["advice"]


@pytest.mark.faults
@pytest.mark.slow
def test_one_that_takes_no_messages_of_64_kib(doctor, tmp_path, transactional_db):
    log = tmp_path / "small.log"
    server = asgi_server("tests.doctor.app:application", log, options=["--ws-max-size", "10000"])
    with server:
        report = through(doctor, server.port, "--only=trip", RECONNECT_CHANNELS=QUICK)
    assert report.code == 1
    assert report.level("trip", "receive") == "ok"
    assert report.level("trip", "message") == "failure"
    assert report.level("trip", "cleanup") == "ok"


def test_nobody_there(doctor, transactional_db):
    report = through(doctor, free_port(), "--only=proxy")
    assert report.code == 1
    (upgrade,) = report.of("proxy", "upgrade")
    assert "nobody answers" in upgrade["text"]


@pytest.mark.faults
@pytest.mark.slow
def test_a_proxy_without_a_server_behind_it(doctor, nginx, site):
    port = nginx()
    site.kill()
    (upgrade,) = through(doctor, port, "--only=proxy").of("proxy", "upgrade")
    assert "502" in upgrade["text"]
    assert "doesn't reach the server" in upgrade["advice"]


@pytest.mark.slow
def test_a_site_without_the_route_is_told_how_to_add_it(doctor, tmp_path, transactional_db):
    with asgi_server("tests.doctor.app:without_route", tmp_path / "log") as server:
        report = through(doctor, server.port, "--only=proxy", "--only=trip", RECONNECT_CHANNELS=QUICK)
    assert report.code == 0
    assert "DoctorConsumer.as_asgi()" in report.of("proxy", "route")[0]["advice"]
    assert report.level("proxy", "subprotocol") == "ok"
    assert "in this process" in report.of("trip", "connect")[0]["text"]


@pytest.mark.slow
def test_a_site_with_another_secret_lets_nobody_in(doctor, site):
    report = through(doctor, site.port, "--only=proxy", DJANGO_SETTINGS_MODULE="tests.doctor.stranger")
    assert "SECRET_KEY" in report.of("proxy", "route")[0]["advice"]


def certificate(folder: Path, days: int) -> tuple[str, str]:
    """Self-signed, for this machine: the file of the certificate, and nginx's lines."""
    key, file = folder / "key.pem", folder / "certificate.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", file),
            *("-days", str(days), "-subj", f"/CN={HOST}", "-addext", f"subjectAltName=IP:{HOST}"),
        ],
        check=True,
        capture_output=True,
    )
    return str(file), f"ssl; ssl_certificate {file}; ssl_certificate_key {key}"


@pytest.mark.faults
@pytest.mark.slow
@pytest.mark.parametrize(("days", "level"), [(90, "ok"), (5, "warning")])
def test_days_that_a_certificate_has_left(days, level, doctor, nginx, tmp_path):
    file, listen = certificate(tmp_path, days)
    report = through(doctor, nginx(listen=listen), "--only=proxy", scheme="wss", SSL_CERT_FILE=file)
    assert report.level("proxy", "tls") == level
    assert report.level("proxy", "idle") == "ok"


@pytest.mark.faults
@pytest.mark.slow
def test_a_certificate_that_browsers_do_not_trust(doctor, nginx, tmp_path):
    _, listen = certificate(tmp_path, 90)
    report = through(doctor, nginx(listen=listen), "--only=proxy", scheme="wss")
    assert report.code == 1
    assert report.level("proxy", "tls") == "failure"
