_aril_with_names() {
    local line="${COMP_LINE:0:COMP_POINT}" words word name cut=
    local -a found
    read -ra words <<< "$line"
    [[ $line == *[[:space:]] ]] && words+=("")
    word="${words[${#words[@]}-1]}"
    # Where bash takes a colon for the end of a word, it keeps what stands before it.
    [[ $COMP_WORDBREAKS == *:* && $word == *:* ]] && cut="${word%"${word##*:}"}"
    while IFS= read -r name; do
        found+=("${name#"$cut"}")
        # A path follows.
        [[ $name == *: ]] && compopt -o nospace 2>/dev/null
    done < <("$1" complete -- "${words[@]:1}" 2>/dev/null)
    if [[ ${#found[@]} -eq 0 ]]; then
        _aril "$@"
        return
    fi
    if [[ ${words[1]} == run || ${words[1]} == cp ]]; then
        while IFS= read -r name; do
            found+=("$name")
        done < <(compgen -f -- "$word")
    fi
    COMPREPLY=("${found[@]}")
}
complete -F _aril_with_names -o bashdefault -o default aril
