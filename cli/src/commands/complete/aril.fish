complete -c aril -a '(aril complete -- (commandline -opc)[2..-1] (commandline -ct) 2>/dev/null)'
