# SPDX-License-Identifier: BSD-2-Clause
# What the parts of CMakeLists.txt use to say that they cannot be built, and what will be.

# PART is the end of a WITH_ option.
function(cannot why part)
	message(FATAL_ERROR "${why}. To do without this part: -DWITH_${part}=OFF")
endfunction()

function(need_program variable name package part)
	find_program(${variable} ${name})
	if(NOT ${variable})
		cannot("${name} is not installed (Debian: apt install ${package})" ${part})
	endif()
endfunction()

function(need_library name package part)
	pkg_check_modules(FOUND_${name} QUIET ${name})
	if(NOT FOUND_${name}_FOUND)
		cannot("the development files of ${name} are not installed \
(Debian: apt install ${package})" ${part})
	endif()
endfunction()

# Note a line for the summary.
function(part name text)
	set_property(GLOBAL APPEND PROPERTY PRXE_PARTS "  ${name}: ${text}")
endfunction()

function(summary)
	get_property(lines GLOBAL PROPERTY PRXE_PARTS)
	foreach(option MODULE PROVIDER LIBODP EXAMPLES SYSTEM)
		if(NOT WITH_${option})
			list(APPEND lines "  not built: WITH_${option} is off")
		endif()
	endforeach()
	list(JOIN lines "\n" text)
	message(STATUS "What will be installed:\n${text}")
endfunction()
