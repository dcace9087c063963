"""django-oauth-toolkit with the clients of tests/real_servers.rs, in memory. Run by ../start: server.py PACKAGES http|https"""

import logging
import os
import ssl
import sys
import threading
from pathlib import Path

PACKAGES, SCHEME = sys.argv[1:]


def end_with_the_parent():
    """Lives no longer than whoever started it, and never for long."""
    while os.read(0, 4096):
        pass
    os._exit(0)


threading.Thread(target=end_with_the_parent, daemon=True).start()
limit = threading.Timer(600, os._exit, [0])
limit.daemon = True
limit.start()

sys.path.insert(0, PACKAGES)
if SCHEME == "http":
    os.environ["OAUTHLIB_INSECURE_TRANSPORT"] = "1"
else:
    os.environ["HTTPS"] = "on"

import django
from django.conf import settings

SECRET = "p+/%:&= s3cret~"
USERNAME, PASSWORD = "alice", "p@ss+w%rd &=é"
MACHINE, PERSON, SHORT, SHORT_PERSON = "machine:a+% b", "person:a+% b", "short+% b", "short-person+% b"

APPS = ["auth", "contenttypes", "oauth2_provider"]
settings.configure(
    SECRET_KEY=os.urandom(32).hex(),
    ALLOWED_HOSTS=["127.0.0.1"],
    ROOT_URLCONF=__name__,
    USE_TZ=True,
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "oauth2_provider"],
    # The tables come straight from the models: the migrations take longer than the tests.
    MIGRATION_MODULES=dict.fromkeys(APPS),
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
    # The default one is slow on purpose.
    PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"],
    OAUTH2_PROVIDER={
        "SCOPES": {"read": "Read", "write": "Write"},
        "DEFAULT_SCOPES": ["read"],
        "EXTRA_SERVER_KWARGS": {"token_expires_in": lambda request: 2 if request.client.client_id in (SHORT, SHORT_PERSON) else 600},
        "REFRESH_TOKEN_EXPIRE_SECONDS": 600,
        "ROTATE_REFRESH_TOKEN": True,
        "REFRESH_TOKEN_REUSE_PROTECTION": True,
    },
)
django.setup()
# It logs each refusal, and that the password grant is old.
logging.disable()

from django.contrib.auth.models import User
from django.core.handlers.wsgi import WSGIHandler
from django.core.management import call_command
from django.core.servers.basehttp import WSGIRequestHandler, WSGIServer
from django.http import HttpResponse
from django.urls import include, path
from oauth2_provider.decorators import protected_resource
from oauth2_provider.models import Application

# With the metadata an unknown token is answered by 401 and a challenge, else by 403.
resource = protected_resource(advertise_metadata=True)(lambda request: HttpResponse("fine"))
urlpatterns = [path("resource", resource), path("o/", include("oauth2_provider.urls", namespace="oauth2_provider"))]


class Quiet(WSGIRequestHandler):
    # One connection is served at a time: who is silent must not hold up the others for ever.
    timeout = 20

    def log_message(self, *_):
        pass


call_command("migrate", run_syncdb=True, verbosity=0)
User.objects.create_user(USERNAME, password=PASSWORD)
for client_id, grant in [
    (MACHINE, Application.GRANT_CLIENT_CREDENTIALS),
    (PERSON, Application.GRANT_PASSWORD),
    (SHORT, Application.GRANT_CLIENT_CREDENTIALS),
    (SHORT_PERSON, Application.GRANT_PASSWORD),
]:
    Application.objects.create(
        client_id=client_id,
        client_secret=SECRET,
        client_type=Application.CLIENT_CONFIDENTIAL,
        authorization_grant_type=grant,
    )

# One thread, for a database in memory belongs to one.
server = WSGIServer(("127.0.0.1", 0), Quiet)
if SCHEME == "https":
    tls = Path(__file__).resolve().parents[2] / "data" / "tls"
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tls / "valid.pem", tls / "valid.key.pem")
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
server.set_app(WSGIHandler())

base = f"{SCHEME}://127.0.0.1:{server.server_address[1]}"
for key, value in {
    "TOKEN_URL": f"{base}/o/token/",
    "REVOKE_URL": f"{base}/o/revoke_token/",
    "RESOURCE_URL": f"{base}/resource",
    "MACHINE_ID": MACHINE,
    "PERSON_ID": PERSON,
    "SHORT_ID": SHORT,
    "SHORT_PERSON_ID": SHORT_PERSON,
    "SECRET": SECRET,
    "USERNAME": USERNAME,
    "PASSWORD": PASSWORD,
}.items():
    sys.stdout.buffer.write(f"{key}={value}\n".encode())
# An empty line: that was all.
sys.stdout.buffer.write(b"\n")
sys.stdout.flush()
server.serve_forever()
