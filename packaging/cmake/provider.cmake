# SPDX-License-Identifier: BSD-2-Clause
# The provider, for the libibverbs that is installed here: it alone knows where it looks for
# providers and which provider ABI it has.
set(RDMA_CORE_SRC "" CACHE PATH
	"unpacked source of rdma-core, or what private-headers.sh made of it")

find_library(IBVERBS_RUNTIME NAMES libibverbs.so.1)
if(NOT IBVERBS_RUNTIME)
	cannot("libibverbs is not installed (Debian: apt install libibverbs1)" PROVIDER)
endif()
file(STRINGS "${IBVERBS_RUNTIME}" texts REGEX "^(/.*/libibverbs\\.d|/.*-rdmav[0-9]+\\.so)$")
foreach(text IN LISTS texts)
	if(text MATCHES "^(/.*)/[^/]*-rdmav([0-9]+)\\.so$")
		set(provider_dir "${CMAKE_MATCH_1}")
		set(provider_abi "${CMAKE_MATCH_2}")
	elseif(text MATCHES "^/.*/libibverbs\\.d$")
		set(provider_config_dir "${text}")
	endif()
endforeach()
if(NOT provider_dir OR NOT provider_config_dir)
	cannot("${IBVERBS_RUNTIME} does not tell where it looks for providers" PROVIDER)
endif()
set(PROVIDER_DIR "${provider_dir}" CACHE PATH "where the provider goes")
set(PROVIDER_CONFIG_DIR "${provider_config_dir}" CACHE PATH "where prxe.driver goes")

if(NOT RDMA_CORE_SRC)
	set(RDMA_CORE_SRC "${PROJECT_SOURCE_DIR}/rdma-core-headers/${provider_abi}")
	if(NOT EXISTS "${RDMA_CORE_SRC}/libibverbs/driver.h")
		cannot("the provider needs the private headers of an rdma-core with provider ABI \
${provider_abi}, as ${IBVERBS_RUNTIME} has it. -DRDMA_CORE_SRC=DIR names an unpacked source \
(Debian: apt-get source rdma-core)" PROVIDER)
	endif()
endif()
if(NOT EXISTS "${RDMA_CORE_SRC}/libibverbs/driver.h")
	cannot("${RDMA_CORE_SRC} is not an rdma-core source (no libibverbs/driver.h)" PROVIDER)
endif()
file(STRINGS "${RDMA_CORE_SRC}/CMakeLists.txt" abi REGEX "^set\\(IBVERBS_PABI_VERSION ")
string(REGEX MATCH "[0-9]+" abi "${abi}")
if(NOT abi STREQUAL provider_abi)
	cannot("the rdma-core in ${RDMA_CORE_SRC} has provider ABI ${abi}, and ${IBVERBS_RUNTIME} \
${provider_abi}: libibverbs would not load the provider" PROVIDER)
endif()
need_program(PYTHON3_EXECUTABLE python3 python3 PROVIDER)

set(provider_build "${CMAKE_BINARY_DIR}/provider")
add_custom_target(provider ALL
	COMMAND ${CMAKE_COMMAND} -E env "CC=${CMAKE_C_COMPILER}"
		"${PROJECT_SOURCE_DIR}/providers/prxe/build.sh"
		"${RDMA_CORE_SRC}" "${provider_build}"
	VERBATIM COMMENT "provider for libibverbs with provider ABI ${provider_abi}")
install(PROGRAMS "${provider_build}/libprxe-rdmav${provider_abi}.so" DESTINATION "${PROVIDER_DIR}")
install(FILES "${provider_build}/prxe.driver" DESTINATION "${PROVIDER_CONFIG_DIR}")
if(PROVIDER_DIR STREQUAL provider_dir AND PROVIDER_CONFIG_DIR STREQUAL provider_config_dir)
	set(found "libibverbs looks there")
else()
	set(found "libibverbs does NOT look there: it looks in ${provider_dir} and \
${provider_config_dir}")
endif()
part("provider" "ABI ${provider_abi} -> ${PROVIDER_DIR} and ${PROVIDER_CONFIG_DIR} (${found})")
