# xxHash's header, as the target xxHash::header: its functions are compiled into ours (XXH_INLINE_ALL), nothing is linked.
if(APPLE)
  list(APPEND CMAKE_PREFIX_PATH /opt/homebrew/opt/xxhash /usr/local/opt/xxhash)
endif()
find_path(PENSTOCK_XXHASH_INCLUDE xxhash.h)
set(penstock_xxhash_version 0)
if(PENSTOCK_XXHASH_INCLUDE)
  file(STRINGS "${PENSTOCK_XXHASH_INCLUDE}/xxhash.h" penstock_xxhash_lines
       REGEX "^#define XXH_VERSION_(MAJOR|MINOR|RELEASE) +[0-9]+")
  string(REGEX REPLACE "[^0-9;]" "" penstock_xxhash_version "${penstock_xxhash_lines}")
  string(REPLACE ";" "." penstock_xxhash_version "${penstock_xxhash_version}")
endif()
if(penstock_xxhash_version VERSION_LESS 0.8)  # XXH3's results are fixed from there on
  message(FATAL_ERROR "Expected xxhash.h of xxHash 0.8 or newer, found version ${penstock_xxhash_version} (0: none). Install it:\n"
                      "  Debian, Ubuntu:   apt-get install libxxhash-dev\n"
                      "  Fedora:           dnf install xxhash-devel\n"
                      "  macOS:            brew install xxhash")
endif()
add_library(xxHash::header INTERFACE IMPORTED)
set_target_properties(xxHash::header PROPERTIES INTERFACE_INCLUDE_DIRECTORIES "${PENSTOCK_XXHASH_INCLUDE}")
