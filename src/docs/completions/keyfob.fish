# fish completion for keyfob. Made by tests/pages.rs from the table of options.

function __keyfob_profiles
    set -l config $XDG_CONFIG_HOME
    test -n "$config"; or set config $HOME/.config
    for file in $config/keyfob/*.json /etc/keyfob/*.json
        string replace -r '.*/(.*)\.json$' '$1' $file
    end
end

function __keyfob_environments
    set -l config $XDG_CONFIG_HOME
    test -n "$config"; or set config $HOME/.config
    for word in (commandline -opc)[3..]
        for file in $word $config/keyfob/$word.json /etc/keyfob/$word.json
            test -f $file; or continue
            string join '' <$file | string match -r '"environments"[^{]*\{[^}]*\}' | string match -ar '"[^"]*"(?= *:)' | string trim -c '"' | string match -v environments
            return
        end
    end
end

complete -c keyfob -f
complete -c keyfob -n '__fish_is_nth_token 1' -a token -d 'print an access token, from the cache or from the server'
complete -c keyfob -n '__fish_is_nth_token 1' -a revoke -d 'end a token at the server and forget it'
complete -c keyfob -n '__fish_is_nth_token 1' -a keep -d 'keep a fresh token in a file'
complete -c keyfob -n '__fish_is_nth_token 1' -a exec -d 'run a program with a token that is kept fresh; without a token it is not started'
complete -c keyfob -n '__fish_is_nth_token 1' -a bench -d 'time cold-start fetches, step by step'
complete -c keyfob -n '__fish_is_nth_token 1' -a parse -d 'show how keyfob reads the token response on standard input'
complete -c keyfob -n '__fish_is_nth_token 1' -a from-curl -d 'make a profile and secret files of the curl command line on standard input'
complete -c keyfob -n '__fish_is_nth_token 1' -a helper -d 'answer as the credential helper of that program'
complete -c keyfob -n '__fish_is_nth_token 1' -a demo -d 'fetch from five services, played by a server in the same process (feature `demo`)'
complete -c keyfob -n '__fish_is_nth_token 1' -a help -d 'print this help, or that of a verb or topic'
complete -c keyfob -n '__fish_is_nth_token 1' -l help -d 'print the help'
complete -c keyfob -n '__fish_is_nth_token 1' -l version -d 'print the version'
complete -c keyfob -n '__fish_is_nth_token 2; and __fish_seen_subcommand_from help' -a 'token revoke keep exec bench parse from-curl helper demo help profile exit-codes'
complete -c keyfob -n '__fish_is_nth_token 2; and __fish_seen_subcommand_from helper' -a 'git cargo kubectl docker gcp'
complete -c keyfob -n '__fish_seen_subcommand_from token revoke keep exec bench helper' -a '(__keyfob_profiles)'
complete -c keyfob -n '__fish_seen_subcommand_from token revoke keep exec bench helper' -l url -x -d 'the token endpoint'
complete -c keyfob -n '__fish_seen_subcommand_from token revoke keep exec bench helper' -l environment -x -a '(__keyfob_environments)' -d 'the name of the environment to use'
complete -c keyfob -n '__fish_seen_subcommand_from token revoke keep exec bench helper' -l dialect -x -a 'json-credentials bearer-session form-credentials user-credentials' -d 'json-credentials, bearer-session, form-credentials or user-credentials: a preset of the options below, each of which overrides it'
complete -c keyfob -n '__fish_seen_subcommand_from token revoke keep exec bench helper' -l grant -x -a 'client_credentials password bearer_session refresh_token' -d 'client_credentials (default), password, bearer_session, refresh_token, jwt_bearer (with a signing key), or the grant_type of another grant'
complete -c keyfob -n '__fish_seen_subcommand_from token revoke keep exec bench helper' -l params -x -a 'form json query' -d 'where parameters go: form (default), json or query (implied by GET)'
complete -c keyfob -n '__fish_seen_subcommand_from token revoke keep exec bench helper' -l auth -x -d 'client_secret_basic (default for form), client_secret_post (default for json and query), private_key_jwt (default with a signing key), client_secret_jwt, tls_client_auth (with the client certificate) or none (default without a client secret)'
complete -c keyfob -n '__fish_seen_subcommand_from token revoke keep exec bench helper' -l method -x -a 'POST PUT GET' -d 'POST (default; GET for a bearer session), PUT or GET'
complete -c keyfob -n '__fish_seen_subcommand_from token revoke keep exec bench helper' -l client-id -x -d 'the client identifier'
complete -c keyfob -n '__fish_seen_subcommand_from token revoke keep exec bench helper' -l client-id-file -r -F -d 'the client identifier, from a file F or an environment variable V'
complete -c keyfob -n '__fish_seen_subcommand_from token revoke keep exec bench helper' -l client-id-env -x -d 'the client identifier, from a file F or an environment variable V'
complete -c keyfob -n '__fish_seen_subcommand_from token revoke keep exec bench helper' -l username -x -d 'the user name, for the grant password'
complete -c keyfob -n '__fish_seen_subcommand_from token revoke keep exec bench helper' -l scope -x -d 'the scope; may be repeated'
complete -c keyfob -n '__fish_seen_subcommand_from token revoke keep exec bench helper' -l param -x -d 'an extra parameter (audience, resource, tenant); may be repeated'
complete -c keyfob -n '__fish_seen_subcommand_from token revoke keep exec bench helper' -l header -x -d 'an extra header; may be repeated'
complete -c keyfob -n '__fish_seen_subcommand_from token revoke keep exec bench helper' -l basic-raw -d 'do not form-encode Basic credentials, for servers that do not decode them'
complete -c keyfob -n '__fish_seen_subcommand_from token revoke keep exec bench helper' -l allow-http -d 'allow plain http to a host that is not loopback or link-local'
complete -c keyfob -n '__fish_seen_subcommand_from token revoke keep exec bench helper' -l var -x -d 'a variable for {K} in URL, parameters and headers; may be repeated'
complete -c keyfob -n '__fish_seen_subcommand_from token revoke keep exec bench helper' -l client-secret-file -r -F -d 'the client secret'
complete -c keyfob -n '__fish_seen_subcommand_from token revoke keep exec bench helper' -l client-secret-env -x -d 'the client secret'
complete -c keyfob -n '__fish_seen_subcommand_from token revoke keep exec bench helper' -l client-secret-profile -x -a '(__keyfob_profiles)' -d 'the client secret'
complete -c keyfob -n '__fish_seen_subcommand_from token revoke keep exec bench helper' -l password-file -r -F -d 'the user\'s password'
complete -c keyfob -n '__fish_seen_subcommand_from token revoke keep exec bench helper' -l password-env -x -d 'the user\'s password'
complete -c keyfob -n '__fish_seen_subcommand_from token revoke keep exec bench helper' -l password-profile -x -a '(__keyfob_profiles)' -d 'the user\'s password'
complete -c keyfob -n '__fish_seen_subcommand_from token revoke keep exec bench helper' -l session-token-file -r -F -d 'the long-lived token of a bearer session'
complete -c keyfob -n '__fish_seen_subcommand_from token revoke keep exec bench helper' -l session-token-env -x -d 'the long-lived token of a bearer session'
complete -c keyfob -n '__fish_seen_subcommand_from token revoke keep exec bench helper' -l session-token-profile -x -a '(__keyfob_profiles)' -d 'the long-lived token of a bearer session'
complete -c keyfob -n '__fish_seen_subcommand_from token revoke keep exec bench helper' -l refresh-token-file -r -F -d 'the refresh token; a new one is written back to the file. One from a variable needs the cache, which keeps the next one'
complete -c keyfob -n '__fish_seen_subcommand_from token revoke keep exec bench helper' -l refresh-token-env -x -d 'the refresh token; a new one is written back to the file. One from a variable needs the cache, which keeps the next one'
complete -c keyfob -n '__fish_seen_subcommand_from token revoke keep exec bench helper' -l access-token-file -r -F -d 'for revoke: the token to end, if it is not the cached one'
complete -c keyfob -n '__fish_seen_subcommand_from token revoke keep exec bench helper' -l access-token-env -x -d 'for revoke: the token to end, if it is not the cached one'
complete -c keyfob -n '__fish_seen_subcommand_from token revoke keep exec bench helper' -l param-file -x -d 'an extra parameter whose value is a secret; may be repeated'
complete -c keyfob -n '__fish_seen_subcommand_from token revoke keep exec bench helper' -l param-env -x -d 'an extra parameter whose value is a secret; may be repeated'
complete -c keyfob -n '__fish_seen_subcommand_from token revoke keep exec bench helper' -l param-profile -x -d 'an extra parameter whose value is a secret; may be repeated'
complete -c keyfob -n '__fish_seen_subcommand_from token revoke keep exec bench helper' -l var-file -x -d 'a variable whose value is a secret; may be repeated'
complete -c keyfob -n '__fish_seen_subcommand_from token revoke keep exec bench helper' -l var-env -x -d 'a variable whose value is a secret; may be repeated'
complete -c keyfob -n '__fish_seen_subcommand_from token revoke keep exec bench helper' -l var-profile -x -d 'a variable whose value is a secret; may be repeated'
complete -c keyfob -n '__fish_seen_subcommand_from token revoke keep exec bench helper' -l header-file -x -d 'an extra header whose value is a secret; may be repeated'
complete -c keyfob -n '__fish_seen_subcommand_from token revoke keep exec bench helper' -l header-env -x -d 'an extra header whose value is a secret; may be repeated'
complete -c keyfob -n '__fish_seen_subcommand_from token revoke keep exec bench helper' -l header-profile -x -d 'an extra header whose value is a secret; may be repeated'
complete -c keyfob -n '__fish_seen_subcommand_from token revoke keep exec bench helper' -l signing-key-file -r -F -d 'the key: PEM, DER, a JWK or Google\'s service-account file, not encrypted'
complete -c keyfob -n '__fish_seen_subcommand_from token revoke keep exec bench helper' -l signing-key-env -x -d 'the key: PEM, DER, a JWK or Google\'s service-account file, not encrypted'
complete -c keyfob -n '__fish_seen_subcommand_from token revoke keep exec bench helper' -l sign-command -x -d 'what signs instead of a key: it reads the message on standard input and prints the signature, as r and s or DER. It is split at spaces and run without a shell. Needs --algorithm'
complete -c keyfob -n '__fish_seen_subcommand_from token revoke keep exec bench helper' -l algorithm -x -d 'ES256, ES384, EdDSA, RS256, PS256 or HS256 (the key\'s)'
complete -c keyfob -n '__fish_seen_subcommand_from token revoke keep exec bench helper' -l key-id -x -d 'the key\'s id in the header (as its file says)'
complete -c keyfob -n '__fish_seen_subcommand_from token revoke keep exec bench helper' -l audience -x -d 'the claim aud (the token endpoint\'s URL): often the server\'s issuer'
complete -c keyfob -n '__fish_seen_subcommand_from token revoke keep exec bench helper' -l claim -x -d 'a claim: iss, sub, scope; may be repeated. In a profile any JSON value'
complete -c keyfob -n '__fish_seen_subcommand_from token revoke keep exec bench helper' -l assertion-header -x -d 'a member of the header: typ, x5t#S256; may be repeated'
complete -c keyfob -n '__fish_seen_subcommand_from token revoke keep exec bench helper' -l field -x -d 'the member that contains the token (data.token)'
complete -c keyfob -n '__fish_seen_subcommand_from token revoke keep exec bench helper' -l lifetime -x -d 'how long a token lives if the answer does not say, or says 0'
complete -c keyfob -n '__fish_seen_subcommand_from token revoke keep exec bench helper' -l min-valid -x -d 'how long the token must live at least; a shorter one is replaced, and if even a new one is shorter, keyfob fails'
complete -c keyfob -n '__fish_seen_subcommand_from token revoke keep exec bench helper' -l format -x -a 'token header curl json' -d 'token (default), header, curl (for `curl -K -`) or json; bench: json, else a table. On an error curl is told to send nothing, also if a profile cannot be read and might say curl (not at a terminal)'
complete -c keyfob -n '__fish_seen_subcommand_from token revoke keep exec bench helper' -l ca-file -r -F -d 'trust only these certificates (PEM), instead of Mozilla\'s'
complete -c keyfob -n '__fish_seen_subcommand_from token revoke keep exec bench helper' -l system-roots -d 'trust what this system trusts, instead of Mozilla\'s'
complete -c keyfob -n '__fish_seen_subcommand_from token revoke keep exec bench helper' -l client-cert-file -r -F -d 'the client\'s certificate (PEM), for a server that asks for one'
complete -c keyfob -n '__fish_seen_subcommand_from token revoke keep exec bench helper' -l client-key-file -r -F -d 'its private key (PEM, not encrypted)'
complete -c keyfob -n '__fish_seen_subcommand_from token revoke keep exec bench helper' -l client-key-env -x -d 'its private key (PEM, not encrypted)'
complete -c keyfob -n '__fish_seen_subcommand_from token revoke keep exec bench helper' -l proxy -x -d 'use this http or https proxy, whatever the environment says'
complete -c keyfob -n '__fish_seen_subcommand_from token revoke keep exec bench helper' -l no-proxy -d 'use no proxy, whatever the environment says'
complete -c keyfob -n '__fish_seen_subcommand_from token revoke keep exec bench helper' -l connect-to -x -d 'connect there instead of to the URL\'s host, which the certificate must still name'
complete -c keyfob -n '__fish_seen_subcommand_from token revoke keep exec bench helper' -l timeout -x -d 'the limit for a whole fetch, name look-up included (30)'
complete -c keyfob -n '__fish_seen_subcommand_from token revoke keep exec bench helper' -l no-cache -d 'neither read nor write it'
complete -c keyfob -n '__fish_seen_subcommand_from token revoke keep exec bench helper' -l fresh -d 'ask the server, whatever is cached or remembered'
complete -c keyfob -n '__fish_seen_subcommand_from token revoke keep exec bench helper' -l cache-dir -r -F -d 'where it is. Default: in memory, in $RUNTIME_DIRECTORY, $XDG_RUNTIME_DIR or this user\'s own directory in /run, /var/run, /dev/shm or /tmp'
complete -c keyfob -n '__fish_seen_subcommand_from token revoke keep exec bench helper' -l wait -x -d 'retry for this long while network, names or clock are not ready (0)'
complete -c keyfob -n '__fish_seen_subcommand_from token revoke keep exec bench helper' -l splay -x -d 'delay the first fetch after boot by up to T, different for each device (0)'
complete -c keyfob -n '__fish_seen_subcommand_from keep' -l file -r -F -d 'the file; the token is removed from it before it expires'
complete -c keyfob -n '__fish_seen_subcommand_from keep' -l mode -x -d 'the file\'s mode (0600)'
complete -c keyfob -n '__fish_seen_subcommand_from keep' -l on-renew -x -d 'the command to start after each renewal: split at spaces, run without a shell and without the variables that contain secrets. SIGHUP renews, unless the server asked for a pause; SIGTERM ends keep'
complete -c keyfob -n '__fish_seen_subcommand_from exec' -l env -x -d 'in this environment variable, which keeps it when it has expired'
complete -c keyfob -n '__fish_seen_subcommand_from exec' -l fd -x -d 'in a pipe on file descriptor N (3 or more)'
complete -c keyfob -n '__fish_seen_subcommand_from exec' -l stdin -d 'on standard input'
complete -c keyfob -n '__fish_seen_subcommand_from exec' -l at-end -x -d 'what happens when the token is about to expire and there is no newer one: keep (nothing; default), stop (SIGTERM, and SIGKILL 10 s later) or \'signal NAME\' (as \'signal HUP\')'
complete -c keyfob -n '__fish_seen_subcommand_from bench' -l count -s n -x -d 'how many fetches (10, at most 1000), each with a new connection and without the cache'
complete -c keyfob -n '__fish_seen_subcommand_from bench' -l pause -x -d 'the pause between fetches (0.2)'
complete -c keyfob -n '__fish_seen_subcommand_from bench' -l processes -d 'start a process for each fetch, so that exec and dynamic linking count'
complete -c keyfob -n '__fish_seen_subcommand_from parse' -l status -x -d 'the HTTP status of the answer (200)'
complete -c keyfob -n '__fish_seen_subcommand_from parse' -l content-type -x -d 'its Content-Type (absent)'
complete -c keyfob -n '__fish_seen_subcommand_from parse' -l show-secrets -d 'print tokens'
complete -c keyfob -n '__fish_seen_subcommand_from from-curl' -l name -x -d 'the profile\'s name, or its path if it has a slash (the host\'s name)'
complete -c keyfob -n '__fish_seen_subcommand_from helper' -l as-user -x -d 'git and docker: send the token as the password of this user (oauth2, where they cannot send it as it is)'
complete -c keyfob -n '__fish_seen_subcommand_from token revoke keep exec bench helper' -l verbose -s v -d 'log to standard error: each request, its status and time, the token\'s life, the next attempt'
