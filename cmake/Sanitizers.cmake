# penstock_sanitize(<target>): what PENSTOCK_SANITIZE asks for, on the target and all that links it.
function(penstock_sanitize target)
  if(NOT PENSTOCK_SANITIZE)
    return()
  endif()
  # -fno-sanitize-recover: undefined behaviour ends the test instead of printing a line nobody reads.
  set(flags -fsanitize=${PENSTOCK_SANITIZE} -fno-sanitize-recover=all)
  target_compile_options(${target} INTERFACE ${flags} -fno-omit-frame-pointer -g)
  target_link_options(${target} INTERFACE ${flags})
endfunction()
