# pure_objects: the sources that no system call is reachable from, which test_purity.py proves by
# what they import. A source is taken for pure unless it stands here:
#   access, account_lookup, load  files, directories and accounts of the machine
#   policy_lua                    a Lua state, whose library may do anything; it lives in load's child
#   idna, public_suffix           libidn2 and libpsl, which are not ours to prove
#   xt_commit, sock_destroy       the kernel
#   xt_fault                      strerror, which words errors in the locale of the machine
set(NOT_PURE "/(access|account_lookup|load(_[a-z]+)?|policy_lua(_[a-z]+)?|idna|public_suffix|\
xt_commit|xt_fault|sock_destroy)\\.c$")
set(PURE_SOURCES "")
foreach(library config firewall proxy_core)
    get_target_property(directory ${library} SOURCE_DIR)
    get_target_property(sources ${library} SOURCES)
    list(TRANSFORM sources PREPEND "${directory}/")
    list(APPEND PURE_SOURCES ${sources})
endforeach()
list(REMOVE_DUPLICATES PURE_SOURCES)
list(FILTER PURE_SOURCES EXCLUDE REGEX "${NOT_PURE}")
add_library(pure_objects OBJECT ${PURE_SOURCES})
set_target_properties(pure_objects PROPERTIES
    POSITION_INDEPENDENT_CODE OFF INTERPROCEDURAL_OPTIMIZATION OFF EXPORT_COMPILE_COMMANDS OFF)
# Warnings are the real build's business.
target_compile_options(pure_objects PRIVATE
    -w -O1 -fno-pic -fno-sanitize=all -fno-stack-protector -U_FORTIFY_SOURCE)

find_package(Python3 REQUIRED COMPONENTS Interpreter)
add_test(NAME purity COMMAND Python3::Interpreter ${CMAKE_CURRENT_SOURCE_DIR}/test_purity.py
    ${CMAKE_NM} $<TARGET_OBJECTS:pure_objects>
    COMMAND_EXPAND_LISTS)
add_test(NAME includes COMMAND Python3::Interpreter ${CMAKE_CURRENT_SOURCE_DIR}/test_includes.py
    ${CMAKE_SOURCE_DIR})
set_tests_properties(purity includes PROPERTIES ENVIRONMENT PYTHONDONTWRITEBYTECODE=1)
