# bash completion for keyfob. Made by tests/pages.rs from the table of options.

_keyfob_profiles() {
    local file
    for file in "${XDG_CONFIG_HOME:-$HOME/.config}"/keyfob/*.json /etc/keyfob/*.json; do
        [ -f "$file" ] || continue
        file=${file##*/}
        printf '%s\n' "${file%.json}"
    done
}

_keyfob_environments() {
    local word file
    for word in "$@"; do
        for file in "$word" "${XDG_CONFIG_HOME:-$HOME/.config}/keyfob/$word.json" "/etc/keyfob/$word.json"; do
            [ -f "$file" ] || continue
            tr -d '\n' <"$file" | sed -n 's/.*"environments"[^{]*{\([^}]*\)}.*/\1/p' | grep -o '"[^"]*" *:' | tr -d '": '
            return
        done
    done
}

_keyfob() {
    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]} words= IFS=$' \n'
    COMPREPLY=()
    case $before in
    --dialect) words='json-credentials bearer-session form-credentials user-credentials' ;;
    --grant) words='client_credentials password bearer_session refresh_token' ;;
    --params) words='form json query' ;;
    --method) words='POST PUT GET' ;;
    --format) words='token header curl json' ;;
    --environment) words=$(_keyfob_environments "${COMP_WORDS[@]:2}") ;;
    --client-id-profile | --client-secret-profile | --password-profile | --session-token-profile | --subject-token-profile | --actor-token-profile)
        words=$(_keyfob_profiles) ;;
    --ca-file | --client-cert-file | --cache-dir | --file | --client-id-file | --client-secret-file | --password-file | --session-token-file | --refresh-token-file | --subject-token-file | --actor-token-file | --access-token-file | --signing-key-file | --client-key-file)
        IFS=$'\n' COMPREPLY=($(compgen -f -- "$word"))
        return ;;
    --url | --auth | --client-id | --username | --scope | --param | --header | --var | --client-id-env | --client-secret-env | --password-env | --session-token-env | --refresh-token-env | --subject-token-env | --actor-token-env | --access-token-env | --param-file | --param-env | --param-profile | --var-file | --var-env | --var-profile | --header-file | --header-env | --header-profile | --signing-key-env | --sign-command | --algorithm | --key-id | --audience | --claim | --assertion-header | --field | --lifetime | --min-valid | --error-to | --client-key-env | --proxy | --connect-to | --timeout | --wait | --splay | --mode | --on-renew | --env | --fd | --at-end | --count | --pause | --status | --content-type | --name)
        return ;;
    *)
        case $COMP_CWORD,${COMP_WORDS[1]} in
        1,*) words='token revoke keep exec status forget helper bench parse from-curl demo help --help --version' ;;
        2,help) words='token revoke keep exec status forget helper bench parse from-curl demo help profile exit-codes' ;;
        2,helper) words='git cargo kubectl docker gcp' ;;
        *,token) words="--url --environment --dialect --grant --params --auth --method --client-id --username --scope --param --header --basic-raw --allow-http --var --client-id-file --client-id-env --client-id-profile --client-secret-file --client-secret-env --client-secret-profile --password-file --password-env --password-profile --session-token-file --session-token-env --session-token-profile --refresh-token-file --refresh-token-env --subject-token-file --subject-token-env --subject-token-profile --actor-token-file --actor-token-env --actor-token-profile --access-token-file --access-token-env --param-file --param-env --param-profile --var-file --var-env --var-profile --header-file --header-env --header-profile --signing-key-file --signing-key-env --sign-command --algorithm --key-id --audience --claim --assertion-header --field --lifetime --min-valid --format --error-to --ca-file --system-roots --client-cert-file --client-key-file --client-key-env --proxy --no-proxy --connect-to --timeout --no-cache --fresh --offline --cache-dir --wait --splay --verbose --help $(_keyfob_profiles)" ;;
        *,revoke) words="--url --environment --dialect --grant --params --auth --method --client-id --username --scope --param --header --basic-raw --allow-http --var --client-id-file --client-id-env --client-id-profile --client-secret-file --client-secret-env --client-secret-profile --password-file --password-env --password-profile --session-token-file --session-token-env --session-token-profile --refresh-token-file --refresh-token-env --subject-token-file --subject-token-env --subject-token-profile --actor-token-file --actor-token-env --actor-token-profile --access-token-file --access-token-env --param-file --param-env --param-profile --var-file --var-env --var-profile --header-file --header-env --header-profile --signing-key-file --signing-key-env --sign-command --algorithm --key-id --audience --claim --assertion-header --field --lifetime --min-valid --format --error-to --ca-file --system-roots --client-cert-file --client-key-file --client-key-env --proxy --no-proxy --connect-to --timeout --no-cache --fresh --cache-dir --wait --splay --verbose --help $(_keyfob_profiles)" ;;
        *,keep) words="--url --environment --dialect --grant --params --auth --method --client-id --username --scope --param --header --basic-raw --allow-http --var --client-id-file --client-id-env --client-id-profile --client-secret-file --client-secret-env --client-secret-profile --password-file --password-env --password-profile --session-token-file --session-token-env --session-token-profile --refresh-token-file --refresh-token-env --subject-token-file --subject-token-env --subject-token-profile --actor-token-file --actor-token-env --actor-token-profile --access-token-file --access-token-env --param-file --param-env --param-profile --var-file --var-env --var-profile --header-file --header-env --header-profile --signing-key-file --signing-key-env --sign-command --algorithm --key-id --audience --claim --assertion-header --field --lifetime --min-valid --format --error-to --ca-file --system-roots --client-cert-file --client-key-file --client-key-env --proxy --no-proxy --connect-to --timeout --no-cache --fresh --cache-dir --wait --splay --file --mode --on-renew --verbose --help $(_keyfob_profiles)" ;;
        *,exec) words="--url --environment --dialect --grant --params --auth --method --client-id --username --scope --param --header --basic-raw --allow-http --var --client-id-file --client-id-env --client-id-profile --client-secret-file --client-secret-env --client-secret-profile --password-file --password-env --password-profile --session-token-file --session-token-env --session-token-profile --refresh-token-file --refresh-token-env --subject-token-file --subject-token-env --subject-token-profile --actor-token-file --actor-token-env --actor-token-profile --access-token-file --access-token-env --param-file --param-env --param-profile --var-file --var-env --var-profile --header-file --header-env --header-profile --signing-key-file --signing-key-env --sign-command --algorithm --key-id --audience --claim --assertion-header --field --lifetime --min-valid --format --error-to --ca-file --system-roots --client-cert-file --client-key-file --client-key-env --proxy --no-proxy --connect-to --timeout --no-cache --fresh --offline --cache-dir --wait --splay --env --fd --stdin --at-end --verbose --help $(_keyfob_profiles)" ;;
        *,status) words="--url --environment --dialect --grant --params --auth --method --client-id --username --scope --param --header --basic-raw --allow-http --var --client-id-file --client-id-env --client-id-profile --client-secret-file --client-secret-env --client-secret-profile --password-file --password-env --password-profile --session-token-file --session-token-env --session-token-profile --refresh-token-file --refresh-token-env --subject-token-file --subject-token-env --subject-token-profile --actor-token-file --actor-token-env --actor-token-profile --access-token-file --access-token-env --param-file --param-env --param-profile --var-file --var-env --var-profile --header-file --header-env --header-profile --signing-key-file --signing-key-env --sign-command --algorithm --key-id --audience --claim --assertion-header --field --lifetime --min-valid --format --error-to --ca-file --system-roots --client-cert-file --client-key-file --client-key-env --proxy --no-proxy --connect-to --timeout --no-cache --fresh --cache-dir --wait --splay --verbose --help $(_keyfob_profiles)" ;;
        *,forget) words="--url --environment --dialect --grant --params --auth --method --client-id --username --scope --param --header --basic-raw --allow-http --var --client-id-file --client-id-env --client-id-profile --client-secret-file --client-secret-env --client-secret-profile --password-file --password-env --password-profile --session-token-file --session-token-env --session-token-profile --refresh-token-file --refresh-token-env --subject-token-file --subject-token-env --subject-token-profile --actor-token-file --actor-token-env --actor-token-profile --access-token-file --access-token-env --param-file --param-env --param-profile --var-file --var-env --var-profile --header-file --header-env --header-profile --signing-key-file --signing-key-env --sign-command --algorithm --key-id --audience --claim --assertion-header --field --lifetime --min-valid --format --error-to --ca-file --system-roots --client-cert-file --client-key-file --client-key-env --proxy --no-proxy --connect-to --timeout --no-cache --fresh --all --cache-dir --wait --splay --verbose --help $(_keyfob_profiles)" ;;
        *,helper) words="--url --environment --dialect --grant --params --auth --method --client-id --username --scope --param --header --basic-raw --allow-http --var --client-id-file --client-id-env --client-id-profile --client-secret-file --client-secret-env --client-secret-profile --password-file --password-env --password-profile --session-token-file --session-token-env --session-token-profile --refresh-token-file --refresh-token-env --subject-token-file --subject-token-env --subject-token-profile --actor-token-file --actor-token-env --actor-token-profile --access-token-file --access-token-env --param-file --param-env --param-profile --var-file --var-env --var-profile --header-file --header-env --header-profile --signing-key-file --signing-key-env --sign-command --algorithm --key-id --audience --claim --assertion-header --field --lifetime --min-valid --format --error-to --ca-file --system-roots --client-cert-file --client-key-file --client-key-env --proxy --no-proxy --connect-to --timeout --no-cache --fresh --offline --cache-dir --wait --splay --verbose --help $(_keyfob_profiles)" ;;
        *,bench) words="--url --environment --dialect --grant --params --auth --method --client-id --username --scope --param --header --basic-raw --allow-http --var --client-id-file --client-id-env --client-id-profile --client-secret-file --client-secret-env --client-secret-profile --password-file --password-env --password-profile --session-token-file --session-token-env --session-token-profile --refresh-token-file --refresh-token-env --subject-token-file --subject-token-env --subject-token-profile --actor-token-file --actor-token-env --actor-token-profile --access-token-file --access-token-env --param-file --param-env --param-profile --var-file --var-env --var-profile --header-file --header-env --header-profile --signing-key-file --signing-key-env --sign-command --algorithm --key-id --audience --claim --assertion-header --field --lifetime --min-valid --format --error-to --ca-file --system-roots --client-cert-file --client-key-file --client-key-env --proxy --no-proxy --connect-to --timeout --no-cache --fresh --cache-dir --wait --splay --count --pause --processes --verbose --help $(_keyfob_profiles)" ;;
        *,parse) words="--status --content-type --show-secrets --help" ;;
        *,from-curl) words="--name --help" ;;
        *,demo) words=" --help" ;;
        esac ;;
    esac
    COMPREPLY=($(compgen -W "$words" -- "$word"))
    [[ $word == */* ]] && IFS=$'\n' COMPREPLY+=($(compgen -f -- "$word"))
    return 0
}

complete -o filenames -F _keyfob keyfob
