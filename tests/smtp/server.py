"""A real SMTP server (aiosmtpd) at a free port of this machine, for the tests of the e-mail destination.

usage: server.py [--auth USER:PASSWORD] [--tls CERTIFICATE KEY]

Prints its port, then one line of JSON for each mail that it took. What happens to a mail depends on its recipient:
busy@ is answered 451, refused@ 550 5.1.1, policy@ 550 5.7.1, plain@ 553 without a code, sender@ 550 5.1.8, relay@ 553 with a code at its end, full@ 552 5.2.2, cut@ loses the connection when the mail is there and before the answer,
dropped@ loses it before the mail is sent. Mails from stranger@ are answered 553. Ends when its input ends.
"""
import argparse
import asyncio
import base64
import json
import ssl
import sys

from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword

parser = argparse.ArgumentParser()
parser.add_argument("--auth")
parser.add_argument("--tls", nargs=2)
options = parser.parse_args()


class Handler:
    async def handle_MAIL(self, server, session, envelope, address, mail_options):
        if address.startswith("stranger@"):
            return "553 5.7.1 not your address"
        envelope.mail_from = address
        return "250 OK"

    async def handle_RCPT(self, server, session, envelope, address, rcpt_options):
        if address.startswith("busy@"):
            return "451 4.3.2 try again later"
        if address.startswith("refused@"):
            return "550 5.1.1 no such user"
        if address.startswith("policy@"):
            return "550 5.7.1 we do not like you, see 10.5.1.1"
        if address.startswith("plain@"):
            return "553 no such user"
        if address.startswith("sender@"):
            return "550 5.1.8 the sender's domain does not exist"
        if address.startswith("relay@"):
            return "553 sorry, that domain isn't in my list of allowed rcpthosts (#5.7.1)"
        if address.startswith("full@"):
            return "552 5.2.2 mailbox full"
        if address.startswith("dropped@"):
            server.transport.abort()
            return "421 4.3.2 closing"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        if envelope.rcpt_tos[0].startswith("cut@"):
            server.transport.abort()
            return "421 4.3.2 closing"
        print(json.dumps({"from": envelope.mail_from, "to": envelope.rcpt_tos, "tls": session.ssl is not None, "user": str(session.auth_data or ""), "data": base64.b64encode(envelope.content).decode()}), flush=True)
        return "250 OK"


def authenticate(server, session, envelope, mechanism, data):
    user, password = options.auth.split(":")
    good = isinstance(data, LoginPassword) and data.login == user.encode() and data.password == password.encode()
    return AuthResult(success=good, handled=False, auth_data=user if good else None)


async def main():
    context = None
    if options.tls:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(*options.tls)
    make = lambda: SMTP(Handler(), tls_context=context, require_starttls=context is not None, authenticator=authenticate if options.auth else None, auth_required=options.auth is not None, auth_require_tls=context is not None)
    server = await asyncio.get_running_loop().create_server(make, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    server.close()


asyncio.run(main())
