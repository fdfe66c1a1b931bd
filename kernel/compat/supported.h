/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Kernels that prxe does not run on. Each would build, or nearly, and then move wrong bytes; so the
 * build stops here, and says why. compat.h includes this file first.
 *
 * Nothing here is about byte order: packets are taken apart byte by byte, rings and atomics have
 * the byte order of the host, as in rdma_rxe.
 */
#ifndef PRXE_SUPPORTED_H
#define PRXE_SUPPORTED_H

/*
 * Atomics of 8 bytes on user memory have to be instructions of the CPU, and addresses, sequence
 * numbers and translations of one word are read without a lock while they change.
 */
#ifndef CONFIG_64BIT
#error "prxe needs a 64-bit kernel"
#endif

/* A translation is the kernel address of a page. A page of high memory has one only for a while. */
#ifdef CONFIG_HIGHMEM
#error "prxe does not work with CONFIG_HIGHMEM"
#endif

/*
 * The kernel reads and writes a page by its own address while programs do so by theirs. Caches that
 * are looked up by virtual address may hold both, with different bytes, and nothing flushes them
 * here. Kernels before 6.9 have no option that says so; there the architecture does.
 */
#if defined(CONFIG_ARCH_HAS_CPU_CACHE_ALIASING) || defined(CONFIG_CPU_CACHE_VIPT_ALIASING) || \
	defined(CONFIG_SPARC) || defined(CONFIG_MIPS) || defined(CONFIG_PARISC)
#error "prxe does not work on CPUs whose data caches may alias"
#endif

/* On-demand memory follows the page tables by notifiers, and reads them by hmm_range_fault(). */
#if !defined(CONFIG_MMU_NOTIFIER) || !defined(CONFIG_HMM_MIRROR)
#error "prxe needs CONFIG_MMU_NOTIFIER and CONFIG_HMM_MIRROR: any option that selects them will do"
#endif

/* Pinned memory is that of ib_umem_get(). */
#ifndef CONFIG_INFINIBAND_USER_MEM
#error "prxe needs CONFIG_INFINIBAND_USER_MEM: turn CONFIG_INFINIBAND_USER_ACCESS on"
#endif

/* There is no DMA device: what kernel consumers map has to stay a kernel address. */
#ifndef CONFIG_INFINIBAND_VIRT_DMA
#error "prxe needs CONFIG_INFINIBAND_VIRT_DMA"
#endif

#endif
