# backend_application.py URL SECRET_FILE [CA_FILE]
import sys

from oauthlib.oauth2 import BackendApplicationClient
from requests_oauthlib import OAuth2Session

url, secret_file, *ca_file = sys.argv[1:]
with open(secret_file) as file:
    secret = file.read()
session = OAuth2Session(client=BackendApplicationClient(client_id="my-client"))
session.trust_env = False
token = session.fetch_token(url, client_id="my-client", client_secret=secret, verify=ca_file[0] if ca_file else True)
print(token["access_token"])
