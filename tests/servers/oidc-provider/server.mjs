// oidc-provider with the clients of tests/real_servers.rs, in memory. Run by ../start: server.mjs PACKAGES http|https
import { createPublicKey } from 'node:crypto';
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
const server = scheme === 'https' ? createTls({ key: tls('valid.key.pem'), cert: tls('valid.pem') }) : createPlain();
await new Promise((ready) => server.listen(0, '127.0.0.1', ready));
const base = `${scheme}://127.0.0.1:${server.address().port}`;

// The public halves of the keys that sign assertions.
const jwk = (name) => {
  const pem = readFileSync(new URL(`../../data/jwt/${name}.pem`, import.meta.url));
  return { ...createPublicKey(pem).export({ format: 'jwk' }), kid: name, use: 'sig' };
};
const keys = ['p256', 'p384', 'ed25519', 'rsa'].map(jwk);
const bearer = 'urn:ietf:params:oauth:grant-type:jwt-bearer';
const signing = (client_id, token_endpoint_auth_method, more) => ({
  ...client(client_id, 'client_credentials', bearer), token_endpoint_auth_method, ...more,
});
const [byKey, bySecret, longSecret] = ['by:key+% b', 'by:secret+% b', 'p+/%:&= s3cret~ of 32 bytes or more'];

const ttl = (context, token, { clientId }) => (clientId === short ? 2 : 600);
const provider = new Provider(base, {
  clients: [
    client(machine, 'client_credentials'),
    client(person, 'password', 'refresh_token'),
    client(short, 'client_credentials', 'password', 'refresh_token'),
    signing(byKey, 'private_key_jwt', { jwks: { keys }, client_secret: undefined }),
    signing(bySecret, 'client_secret_jwt', { client_secret: longSecret }),
  ],
  enabledJWA: { clientAuthSigningAlgValues: ['HS256', 'RS256', 'PS256', 'ES256', 'ES384', 'EdDSA', 'Ed25519'] },
  // `admin` is known, but no client's.
  scopes: ['read', 'write', 'admin'],
  features: { clientCredentials: { enabled: true }, revocation: { enabled: true }, devInteractions: { enabled: false } },
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
