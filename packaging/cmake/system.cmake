# SPDX-License-Identifier: BSD-2-Clause
# The unit that makes a device for a network interface, and what goes with it. systemd reads units
# and lists of modules of the prefixes /usr and /usr/local.
set(PRXE_DEVICE_SCRIPT "${CMAKE_INSTALL_FULL_LIBEXECDIR}/prxe/prxe-device")
configure_file(packaging/systemd/prxe@.service.in prxe@.service @ONLY)
install(FILES "${CMAKE_BINARY_DIR}/prxe@.service"
	DESTINATION "${CMAKE_INSTALL_PREFIX}/lib/systemd/system")
install(FILES packaging/systemd/prxe.conf DESTINATION "${CMAKE_INSTALL_PREFIX}/lib/modules-load.d")
install(PROGRAMS packaging/systemd/prxe-device DESTINATION "${CMAKE_INSTALL_LIBEXECDIR}/prxe")
install(FILES packaging/systemd/90-prxe-example.rules DESTINATION "${CMAKE_INSTALL_DOCDIR}")
list(APPEND MAN_SECTIONS 7 8)
part("system" "prxe@.service -> ${CMAKE_INSTALL_PREFIX}/lib/systemd/system")
