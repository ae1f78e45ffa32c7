"""The file transport writes whole mails that only their owner can read."""

from __future__ import annotations

import errno
from email import message_from_bytes
from email.policy import default
from pathlib import Path

import pytest

from asok_auth_core.errors import EmailInvalid, MailPermanent, MailTemporary
from asok_auth_core.mail.file import FileTransport
from asok_auth_core.settings import MailSettings
from asok_auth_core.types import OutgoingMail

MAIL = OutgoingMail("ann@app.example", "Your link", "text\n", "<p>html</p>\n")


def test_each_mail_is_a_file_in_chronological_order(tmp_path: Path) -> None:
    ticks = iter([1.0, 1.0, 2.0, 2.0])
    transport = FileTransport(MailSettings(directory="mail/out"), root=tmp_path, clock=lambda: next(ticks))
    transport.send(MAIL)
    transport.send(OutgoingMail("bob@app.example", "Second", "text"))
    assert transport.directory == tmp_path / "mail" / "out"
    files = sorted(transport.directory.iterdir())
    mails = [message_from_bytes(file.read_bytes(), policy=default) for file in files]
    assert [file.suffix for file in files] == [".eml", ".eml"]
    assert [mail["To"] for mail in mails] == ["ann@app.example", "bob@app.example"]
    assert [part.get_content_type() for part in mails[0].iter_parts()] == ["text/plain", "text/html"]


def test_folder_and_files_are_readable_by_the_owner_only(tmp_path: Path) -> None:
    transport = FileTransport(MailSettings(directory="mail"), root=tmp_path)
    transport.send(MAIL)
    (file,) = transport.directory.iterdir()
    assert file.stat().st_mode & 0o777 == 0o600
    assert transport.directory.stat().st_mode & 0o777 == 0o700


def test_injections_write_nothing(tmp_path: Path) -> None:
    transport = FileTransport(MailSettings(directory="mail"), root=tmp_path)
    with pytest.raises(EmailInvalid):
        transport.send(OutgoingMail("../../ann\n@app.example", "s", "t"))
    assert not transport.directory.exists()


def test_a_file_in_place_of_the_folder_is_a_permanent_error(tmp_path: Path) -> None:
    (tmp_path / "mail").write_text("")
    with pytest.raises(MailPermanent, match="DIRECTORY"):
        FileTransport(MailSettings(directory="mail"), root=tmp_path).send(MAIL)


def test_a_full_disk_is_a_temporary_error_and_leaves_no_partial_mail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(unfinished: Path, finished: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    transport = FileTransport(MailSettings(directory="mail"), root=tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", full)
        with pytest.raises(MailTemporary):
            transport.send(MAIL)
    assert list(transport.directory.iterdir()) == []
    transport.send(MAIL)
    assert len(list(transport.directory.iterdir())) == 1
