"""A mail server for tests. It says on its standard output where it listens, and then each message that
it takes, as one line of JSON."""

import asyncio
import json
import ssl
import sys

from aiosmtpd.smtp import SMTP, AuthResult


class Mailbox:
    async def handle_DATA(self, server, session, envelope):
        message = {
            "from": envelope.mail_from,
            "to": envelope.rcpt_tos,
            "login": session.auth_data,
            "data": envelope.content.decode("utf-8"),
        }
        print(json.dumps(message), flush=True)
        return "250 2.0.0 kept as 17"


def authenticator(password):
    def check(server, session, envelope, mechanism, data):
        is_right = data.login == b"ada" and data.password == password.encode()
        name = data.login.decode() if is_right else None
        return AuthResult(success=is_right, handled=False, auth_data=name)

    return check


async def main(security, password, certificate=None, key=None):
    context = None
    if security != "none":
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificate, key)
    starttls = context if security == "starttls" else None

    def session():
        return SMTP(
            Mailbox(),
            hostname="mail.test",
            enable_SMTPUTF8=True,
            data_size_limit=64 << 20,
            tls_context=starttls,
            require_starttls=starttls is not None,
            authenticator=authenticator(password) if password else None,
            auth_required=bool(password),
            auth_require_tls=starttls is not None,
        )

    implicit = context if security == "tls" else None
    loop = asyncio.get_running_loop()
    server = await loop.create_server(session, "127.0.0.1", 0, ssl=implicit)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


asyncio.run(main(*sys.argv[1:]))
