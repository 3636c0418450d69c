function __aril_names
    aril complete -- (commandline -opc)[2..-1] (commandline -ct) 2>/dev/null
end
complete -c aril -a '(__aril_names)'
# Where there are names, files are meant as well by these verbs alone.
complete -c aril -n 'not contains -- (commandline -opc)[2] run cp; and count (__aril_names) >/dev/null' -f
