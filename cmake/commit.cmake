# Writes the commit that is being built into a C++ source, which changes only with it:
# cmake -DFOLDER=the source -DOUTPUT=commit.cpp -P commit.cmake
execute_process(COMMAND git -C ${FOLDER} rev-parse --show-toplevel OUTPUT_VARIABLE top OUTPUT_STRIP_TRAILING_WHITESPACE
  ERROR_QUIET)
file(REAL_PATH ${FOLDER} folder)
set(commit "")
if(top STREQUAL folder)  # an unpacked archive may lie in another repository
  execute_process(COMMAND git -C ${FOLDER} describe --always --exclude=* --abbrev=12 --dirty OUTPUT_VARIABLE commit
    OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
endif()
file(CONFIGURE OUTPUT ${OUTPUT} @ONLY CONTENT [[
#include "run_description.h"

const char* flashmoe::source_commit() { return "@commit@"; }
]])
