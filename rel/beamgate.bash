# bash completion of beamgate; installed as /usr/share/bash-completion/completions/beamgate

_beamgate_ctl() {
    local commands=" health stats flows call-flow cluster failed limits services clients pools call trace reload disconnect drain log-level "
    local i command=
    for ((i = 2; i < COMP_CWORD; i++)); do
        case ${COMP_WORDS[i]} in
        -s | --socket) ((i++)) ;;
        -*) ;;
        *) command=${COMP_WORDS[i]} && break ;;
        esac
    done
    local words="--help --json"
    case $command in
    "") words="$commands -s --socket --json --help" ;;
    call-flow) words+=" --version" ;;
    clients) words+=" --user" ;;
    trace) words+=" --user --service --type --topic --request-id" ;;
    call) words+=" --user --roles --version --timeout" ;;
    drain) words+=" --wait" ;;
    log-level) words+=" debug info warning error" ;;
    esac
    case $3 in
    -s | --socket) mapfile -t COMPREPLY < <(compgen -f -- "$2") ;;
    *) mapfile -t COMPREPLY < <(compgen -W "$words" -- "$2") ;;
    esac
}

_beamgate() {
    COMPREPLY=()
    if [ "${COMP_WORDS[1]}" = ctl ] && [ "$COMP_CWORD" -gt 1 ]; then
        _beamgate_ctl "$@"
        return
    fi
    case $3 in
    -c | --config | --check | --cookie-file) mapfile -t COMPREPLY < <(compgen -f -- "$2") && return ;;
    --log-level) mapfile -t COMPREPLY < <(compgen -W "debug info warning error" -- "$2") && return ;;
    --name) return ;;
    esac
    local words="-c --config --check --cookie-file --name --log-level --version --help"
    [ "$COMP_CWORD" -eq 1 ] && words="ctl $words"
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$2")
    case $2 in
    -*) ;;
    *) mapfile -t -O "${#COMPREPLY[@]}" COMPREPLY < <(compgen -f -- "$2") ;;
    esac
}

complete -o filenames -F _beamgate beamgate
