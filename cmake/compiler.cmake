# Language level, warnings, sanitizers. Instruction sets are chosen per file (transmla_isa_sources), never globally:
# one binary runs on every x86-64-v2 machine.
set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)

if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Release CACHE STRING "Build type" FORCE)
endif()

# Every binary lands in one folder, so that scripts find them without knowing the source tree.
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)
# Where programs look for the modules that they open (engine/tokenizer): beside themselves, or installed.
set(CMAKE_BUILD_RPATH "$ORIGIN;$ORIGIN/../lib/transmla")

find_program(TRANSMLA_CCACHE ccache)
if(TRANSMLA_CCACHE)
  set(CMAKE_CXX_COMPILER_LAUNCHER ${TRANSMLA_CCACHE})
endif()

# Our own code only: targets made by transmla_library/test/benchmark link this, generated code does not.
add_library(transmla_warnings INTERFACE)
target_compile_options(transmla_warnings INTERFACE
  $<$<COMPILE_LANGUAGE:CXX>:-Wall -Wextra -Wshadow -Wnon-virtual-dtor -Woverloaded-virtual -Wimplicit-fallthrough
    -Wno-missing-field-initializers -Werror>)

add_compile_options($<$<COMPILE_LANGUAGE:CXX>:-march=x86-64-v2>)

if(TRANSMLA_SANITIZE)
  list(JOIN TRANSMLA_SANITIZE "," sanitizers)
  add_compile_options($<$<COMPILE_LANGUAGE:CXX>:-fsanitize=${sanitizers}>
    $<$<COMPILE_LANGUAGE:CXX>:-fno-omit-frame-pointer> $<$<COMPILE_LANGUAGE:CXX>:-fno-sanitize-recover=all>)
  # GCC says of itself that sanitizers make it warn of variables that are initialised.
  target_compile_options(transmla_warnings INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-Wno-maybe-uninitialized>)
  add_link_options(-fsanitize=${sanitizers})
  # A sanitizer opens modules in the program's place: only the old kind of path is then looked up.
  add_link_options(-Wl,--disable-new-dtags)
  if(sanitizers STREQUAL "thread")
    include(tsan)
  endif()
endif()
