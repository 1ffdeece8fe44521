// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "runtime/cpu/Runtime.h"

#include <atomic>
#include <cerrno>
#include <fcntl.h>
#include <sys/mman.h>
#include <system_error>
#include <thread>
#include <unistd.h>
#include <vector>

static constexpr int64_t kHugePage = int64_t(2) << 20;

void *mk_alloc(int64_t bytes) {
  // Anonymous memory is zero and costs nothing until it is touched, so a large KV pool is free
  // while it is empty.
  void *memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED)
    return nullptr;
  if (bytes >= 4 * kHugePage)
    madvise(memory, bytes, MADV_HUGEPAGE); // a wish: streams lose little without it
  return memory;
}

void mk_free(void *memory, int64_t bytes) { munmap(memory, bytes); }

namespace {
struct FileRead {
  int file;
  int64_t offset, bytes, block;
  char *to;
  std::atomic<int> error{0};
};
} // namespace

static void readBlock(void *data, int64_t index) {
  auto &read = *static_cast<FileRead *>(data);
  int64_t at = index * read.block,
          end = at + read.block < read.bytes ? at + read.block : read.bytes;
  while (at < end && !read.error) {
    ssize_t count = pread(read.file, read.to + at, end - at, read.offset + at);
    if (count < 0 && errno == EINTR)
      continue;
    if (count <= 0) {
      read.error = count < 0 ? errno : EIO;
      return;
    }
    at += count;
  }
}

int32_t mk_read_file(const char *path, int64_t offset, void *to, int64_t bytes, int32_t threads) {
  int file = open(path, O_RDONLY | O_CLOEXEC);
  if (file < 0)
    return errno;
  FileRead read{file, offset, bytes, int64_t(8) << 20, static_cast<char *>(to), {}};
  mk::parallelFor(threads, (bytes + read.block - 1) / read.block, readBlock, &read);
  close(file);
  return read.error;
}

void mk::parallelFor(int threads, int64_t parts, void (*work)(void *data, int64_t part),
                     void *data) {
  std::atomic<int64_t> next{0};
  auto loop = [&] {
    for (int64_t part; (part = next.fetch_add(1, std::memory_order_relaxed)) < parts;)
      work(data, part);
  };
  std::vector<std::thread> others;
  for (int t = 1; t < threads && t < parts; ++t) {
    try {
      others.emplace_back(loop);
    } catch (const std::system_error &) {
      break; // no more threads: those that there are do all the work
    }
  }
  loop();
  for (std::thread &other : others)
    other.join();
}
