# SPDX-License-Identifier: BSD-2-Clause
# prxe.ko, in a copy of its sources, because kbuild writes beside what it reads.
execute_process(COMMAND uname -r OUTPUT_VARIABLE running_kernel OUTPUT_STRIP_TRAILING_WHITESPACE)
set(KDIR "/lib/modules/${running_kernel}/build" CACHE PATH "build directory of the kernel")

if(NOT EXISTS "${KDIR}/Makefile")
	cannot("there is no kernel to build for in ${KDIR} \
(Debian: apt install linux-headers-${running_kernel}; -DKDIR=DIR names another kernel)" MODULE)
endif()
# The name in what the kernel itself includes; include/config/kernel.release of Debian 12's headers
# has another one.
set(utsrelease "${KDIR}/include/generated/utsrelease.h")
if(NOT EXISTS "${utsrelease}")
	cannot("the kernel in ${KDIR} was not configured and built" MODULE)
endif()
if("${CMAKE_BINARY_DIR}" MATCHES "[ \t:]")
	cannot("kbuild takes no build directory with blanks or colons in its name, \
as ${CMAKE_BINARY_DIR} has" MODULE)
endif()
file(STRINGS "${utsrelease}" kernel_release REGEX UTS_RELEASE LIMIT_COUNT 1)
string(REGEX REPLACE "^[^\"]*\"(.*)\".*" "\\1" kernel_release "${kernel_release}")
need_program(MAKE_EXECUTABLE make build-essential MODULE)
if(NOT CMAKE_STRIP)
	cannot("strip is not installed (Debian: apt install binutils)" MODULE)
endif()

# So named, make and kbuild share the jobs of "cmake --build --parallel N".
if(CMAKE_GENERATOR MATCHES "Makefiles")
	set(make "$(MAKE)")
else()
	set(make "${MAKE_EXECUTABLE}")
endif()
set(module_dir "${CMAKE_BINARY_DIR}/kernel")
add_custom_target(module ALL
	COMMAND ${CMAKE_COMMAND} -E copy_directory "${PROJECT_SOURCE_DIR}/kernel" "${module_dir}"
	COMMAND "${make}" -C "${KDIR}" "M=${module_dir}" modules
	COMMAND "${CMAKE_STRIP}" -g -o "${CMAKE_BINARY_DIR}/prxe.ko" "${module_dir}/prxe.ko"
	VERBATIM COMMENT "prxe.ko for ${kernel_release}")
install(FILES "${CMAKE_BINARY_DIR}/prxe.ko" DESTINATION "/lib/modules/${kernel_release}/updates")
# For a package's staging directory depmod is the package's business.
install(CODE "
	if(\"\$ENV{DESTDIR}\" STREQUAL \"\")
		execute_process(COMMAND depmod \"${kernel_release}\" COMMAND_ERROR_IS_FATAL ANY)
	endif()")
part("module" "prxe.ko for ${kernel_release} -> /lib/modules/${kernel_release}/updates")
