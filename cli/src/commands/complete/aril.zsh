_aril_with_names() {
    local -a names
    names=(${(f)"$(aril complete -- "${(@)words[2,CURRENT]}" 2>/dev/null)"})
    (( ${#names} )) && compadd -a names
    _aril "$@"
}
compdef _aril_with_names aril
