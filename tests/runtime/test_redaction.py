"""No password of an address is shown, also where the address is malformed."""

import pytest

from huajuan.runtime.redaction import (
    DsnMalformed,
    address_without_secrets,
    dsn_without_secrets,
    parsed_dsn,
    without_dsn_secrets,
)

MISREAD = {
    "no DSN": "s3cret",
    "blank in a password": "host=db password=two s3cret words",
    "open quote": "host=db password='s3cret",
    "at sign": "postgresql://ann:p@s3cret@db/huajuan",
    "slash": "postgresql://ann:pa/s3cret@db/huajuan",
    "slash and digits": "postgresql://ann:1/s3cret@db/huajuan",
    "question mark": "postgresql://ann:a/b?s3cret@db/huajuan",
    "percent sign": "postgresql://ann:%s3cret@db/huajuan",
    "percent sign and NUL": "postgresql://ann:%00s3cret@db/huajuan",
    "colon": "postgresql://db:s3cret/huajuan",
    "unknown option": "host=db s3cret=1",
    "bracket": "postgresql://ann@[s3cret/huajuan",
}


@pytest.mark.parametrize("dsn", MISREAD.values(), ids=MISREAD)
def test_a_malformed_dsn_is_not_repeated(dsn: str) -> None:
    with pytest.raises(DsnMalformed) as raised:
        parsed_dsn(dsn)
    assert "s3cret" not in str(raised.value)
    assert raised.value.__cause__ is None


READ = {
    "url": "postgresql://ann:s3cret@db:5433/huajuan?sslpassword=s3cret2",
    "encoded": "postgresql://ann:s3cret%40x@db:5433/huajuan",
    "pairs": "host=db port=5433 user=ann dbname=huajuan password='s3cret with blanks'",
    "several hosts": "postgresql://ann:s3cret@db:5433,other:5433/huajuan?target_session_attrs=read-write",
    "socket": "postgresql://ann:s3cret@%2Frun%2Fpostgresql/huajuan",
}


@pytest.mark.parametrize("dsn", READ.values(), ids=READ)
def test_a_valid_dsn_is_shown_without_its_secrets(dsn: str) -> None:
    shown = dsn_without_secrets(dsn)
    assert "s3cret" not in shown
    assert {"user": "ann", "password": "***", "dbname": "huajuan"}.items() <= parsed_dsn(shown).items()


def test_messages_of_the_client_are_redacted() -> None:
    message = without_dsn_secrets("no pg_hba.conf entry for s3cret", "host=db password=s3cret")
    assert message == "no pg_hba.conf entry for ***"


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("/srv/pictures?x", "/srv/pictures?x"),
        ("s3://bucket/pictures", "s3://bucket/pictures"),
        ("s3://key:s3cret@bucket/pictures", "s3://***@bucket/pictures"),
        ("s3://key:s3/cret@bucket/pictures", "s3://***@bucket/pictures"),
        ("az://box?sas=s3cret", "az://box?***"),
        ("http://u:p@s3cret@host:8188/x", "http://***@host:8188/x"),
    ],
)
def test_other_addresses_are_shown_without_user_and_query(address: str, shown: str) -> None:
    assert address_without_secrets(address) == shown
