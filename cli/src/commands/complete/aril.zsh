_aril_with_names() {
    local -a names paths
    names=(${(f)"$(aril complete -- "${(@)words[2,CURRENT-1]}" "$PREFIX" 2>/dev/null)"})
    # A path follows a name that ends with a colon.
    paths=(${(M)names:#*:})
    names=(${names:#*:})
    (( ${#paths} )) && compadd -S '' -a paths
    (( ${#names} )) && compadd -a names
    # Where there are names, files are meant as well by these verbs alone.
    (( ${#names} + ${#paths} )) && [[ $words[2] != (run|cp) ]] && return
    _aril "$@"
}

if [ "$funcstack[1]" = "_aril" ]; then
    _aril_with_names "$@"
fi
compdef _aril_with_names aril
