"""Mails for tests, as their bytes."""

from email.message import EmailMessage


def mail(subject: str = "The weir", text: str = "The weir holds.", **headers: str) -> EmailMessage:
    """A mail of one plain part; `in_reply_to="<a@b>"` is the header In-Reply-To."""
    message = EmailMessage()
    message["Subject"] = subject
    for name, value in headers.items():
        message[name.replace("_", "-")] = value
    message.set_content(text)
    return message


def attached(message: EmailMessage, name: str, data: bytes, kind: str = "application/octet-stream") -> EmailMessage:
    """The mail, with one more attachment."""
    main, sub = kind.split("/")
    message.add_attachment(data, maintype=main, subtype=sub, filename=name)
    return message


def lines(*lines: str | bytes) -> bytes:
    """Lines of a mail that no library would write."""
    return b"".join((line.encode() if isinstance(line, str) else line) + b"\r\n" for line in lines)
