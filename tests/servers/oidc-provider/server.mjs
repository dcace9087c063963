// oidc-provider with the clients of tests/real_servers.rs, in memory. Run by ../start: server.mjs PACKAGES http|https
import { X509Certificate, createPublicKey } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createServer as createPlain } from 'node:http';
import { createServer as createTls } from 'node:https';
import { createRequire } from 'node:module';

const [packages, scheme] = process.argv.slice(2);
// Lives no longer than whoever started it, and never for long.
process.stdin.on('end', () => process.exit()).on('error', () => process.exit()).resume();
setTimeout(() => process.exit(), 600_000);
// The library warns of what does not suit production.
console.warn = console.info = () => {};

const require = createRequire(`${packages}/package.json`);
const { default: Provider, errors } = await import(require.resolve('oidc-provider'));
const { createLocalJWKSet, jwtVerify } = await import(require.resolve('jose'));

const secret = 'p+/%:&= s3cret~';
const [username, password] = ['alice', 'p@ss+w%rd &=é'];
const [machine, person, short] = ['machine:a+% b', 'person:a+% b', 'short+% b'];
const client = (client_id, ...grant_types) => ({
  client_id, client_secret: secret, grant_types, response_types: [], redirect_uris: [], scope: 'read write',
});

const tls = (name) => readFileSync(new URL(`../../data/tls/${name}`, import.meta.url));
const server = scheme === 'https' ? createTls({
  key: tls('valid.key.pem'), cert: tls('valid.pem'), ca: tls('ca.pem'), requestCert: true, rejectUnauthorized: false,
}) : createPlain();
await new Promise((ready) => server.listen(0, '127.0.0.1', ready));
const base = `${scheme}://127.0.0.1:${server.address().port}`;

// The public halves of the keys that sign assertions.
const jwk = (name) => {
  const pem = readFileSync(new URL(`../../data/jwt/${name}.pem`, import.meta.url));
  return { ...createPublicKey(pem).export({ format: 'jwk' }), kid: name, use: 'sig' };
};
const keys = ['p256', 'p384', 'ed25519', 'rsa'].map(jwk);
const bearer = 'urn:ietf:params:oauth:grant-type:jwt-bearer';
const exchange = 'urn:ietf:params:oauth:grant-type:token-exchange';
const signing = (client_id, token_endpoint_auth_method, more) => ({
  ...client(client_id, 'client_credentials', bearer), token_endpoint_auth_method, ...more,
});
const [byKey, bySecret, byCertificate] = ['by:key+% b', 'by:secret+% b', 'by:certificate+% b'];
const [longSecret, audience] = ['p+/%:&= s3cret~ of 32 bytes or more', 'https://api.example'];
const peer = ({ req }) => req.socket.getPeerX509Certificate?.();

const ttl = (context, token, { clientId }) => (clientId === short ? 2 : 600);
const provider = new Provider(base, {
  clients: [
    client(machine, 'client_credentials', exchange),
    client(person, 'password', 'refresh_token'),
    client(short, 'client_credentials', 'password', 'refresh_token'),
    signing(byKey, 'private_key_jwt', { jwks: { keys }, client_secret: undefined }),
    signing(bySecret, 'client_secret_jwt', { client_secret: longSecret }),
    signing(byCertificate, 'tls_client_auth', {
      client_secret: undefined, tls_client_auth_subject_dn: 'CN=client', tls_client_certificate_bound_access_tokens: true,
    }),
  ],
  enabledJWA: { clientAuthSigningAlgValues: ['HS256', 'RS256', 'PS256', 'ES256', 'ES384', 'EdDSA', 'Ed25519'] },
  // `admin` is known, but no client's.
  scopes: ['read', 'write', 'admin'],
  clientAuthMethods: ['client_secret_basic', 'client_secret_post', 'client_secret_jwt', 'private_key_jwt', 'tls_client_auth', 'none'],
  features: {
    clientCredentials: { enabled: true },
    revocation: { enabled: true },
    introspection: { enabled: true },
    devInteractions: { enabled: false },
    mTLS: {
      enabled: true,
      tlsClientAuth: true,
      certificateBoundAccessTokens: true,
      getCertificate: peer,
      certificateAuthorized: ({ req }) => req.socket.authorized,
      certificateSubjectMatches: (context, property, expected) => peer(context).subject === expected,
    },
    resourceIndicators: {
      enabled: true,
      getResourceServerInfo: (context, resource) => {
        if (resource !== audience) throw new errors.InvalidTarget();
        return { scope: 'read write', audience: resource, accessTokenFormat: 'opaque' };
      },
    },
  },
  rotateRefreshToken: true,
  issueRefreshToken: (context, { grantTypes }) => grantTypes.includes('refresh_token'),
  findAccount: (context, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
  ttl: { AccessToken: ttl, ClientCredentials: ttl, RefreshToken: 600, Grant: 600 },
});

// The library leaves this grant to its users, as an extension.
provider.registerGrantType('password', async (context) => {
  const { params, client } = context.oidc;
  if (params.username !== username || params.password !== password) throw new errors.InvalidGrant('wrong user or password');
  const grant = new provider.Grant({ accountId: username, clientId: client.clientId });
  grant.addOIDCScope(params.scope);
  const common = { accountId: username, client, grantId: await grant.save(), scope: params.scope, gty: 'password', claims: {} };
  const token = new provider.AccessToken(common);
  context.body = {
    access_token: await token.save(),
    token_type: 'Bearer',
    expires_in: token.expiration,
    scope: params.scope,
    refresh_token: await new provider.RefreshToken(common).save(),
  };
}, ['username', 'password', 'scope']);

// So is this one. It takes assertions of the keys above.
provider.registerGrantType(bearer, async (context) => {
  const { params, client } = context.oidc;
  const rules = { audience: [base, `${base}/token`], subject: username, maxTokenAge: 300 };
  await jwtVerify(params.assertion, createLocalJWKSet({ keys }), rules).catch((error) => { throw new errors.InvalidGrant(error.code); });
  const token = new provider.ClientCredentials({ client, scope: params.scope });
  context.body = { access_token: await token.save(), token_type: 'Bearer', expires_in: token.expiration, scope: params.scope };
}, ['assertion', 'scope']);

// And this one (RFC 8693), for its own tokens.
provider.registerGrantType(exchange, async (context) => {
  const { params, client } = context.oidc;
  if (!await provider.ClientCredentials.find(params.subject_token)) throw new errors.InvalidGrant('subject_token');
  const token = new provider.ClientCredentials({ client, scope: params.scope });
  context.body = {
    access_token: await token.save(),
    issued_token_type: 'urn:ietf:params:oauth:token-type:access_token',
    token_type: 'Bearer',
    expires_in: token.expiration,
  };
}, ['subject_token', 'subject_token_type', 'requested_token_type', 'scope']);

const issuer = provider.callback();
server.on('request', async (request, response) => {
  if (request.url !== '/resource') return issuer(request, response);
  // The protected resource asks the server's own store.
  const value = /^Bearer (\S+)$/.exec(request.headers.authorization)?.[1] ?? '';
  const token = await provider.AccessToken.find(value) ?? await provider.ClientCredentials.find(value);
  if (token?.isValid) return response.end('fine');
  return response.writeHead(401, { 'www-authenticate': 'Bearer error="invalid_token"' }).end();
});

for (const [key, value] of Object.entries({
  TOKEN_URL: `${base}/token`,
  REVOKE_URL: `${base}/token/revocation`,
  RESOURCE_URL: `${base}/resource`,
  ISSUER: base,
  KEY_ID: byKey,
  SECRET_JWT_ID: bySecret,
  LONG_SECRET: longSecret,
  CERTIFICATE_ID: byCertificate,
  CERTIFICATE: Buffer.from(new X509Certificate(tls('client.pem')).fingerprint256.replaceAll(':', ''), 'hex').toString('base64url'),
  AUDIENCE: audience,
  MACHINE_ID: machine,
  PERSON_ID: person,
  SHORT_ID: short,
  SHORT_PERSON_ID: short,
  SECRET: secret,
  USERNAME: username,
  PASSWORD: password,
})) console.log(`${key}=${value}`);
// An empty line: that was all.
console.log();
