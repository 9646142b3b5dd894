# ThreadSanitizer with Debian's Abseil, which is not built for it: the sanitizer does not see that absl::Mutex orders anything and
# would report every use. So the linker sends our calls of it through tsan/abseil.cc, which tells the sanitizer and then calls
# Abseil. The symbols carry Debian's inline namespace; a missing one fails the link, a new one that nobody wraps is reported
# as a race.
set(transmla_tsan_symbols
  _ZN4absl7debian35Mutex4LockEv
  _ZN4absl7debian35Mutex6UnlockEv
  _ZN4absl7debian35Mutex7TryLockEv
  _ZN4absl7debian35Mutex10ReaderLockEv
  _ZN4absl7debian35Mutex12ReaderUnlockEv
  _ZN4absl7debian35Mutex5AwaitERKNS0_9ConditionE
  _ZN4absl7debian35Mutex16AwaitWithTimeoutERKNS0_9ConditionENS0_8DurationE
  _ZN4absl7debian35Mutex17AwaitWithDeadlineERKNS0_9ConditionENS0_4TimeE
  _ZN4absl7debian35MutexD1Ev
  _ZN4absl7debian37CondVar4WaitEPNS0_5MutexE
  _ZN4absl7debian37CondVar15WaitWithTimeoutEPNS0_5MutexENS0_8DurationE
  _ZN4absl7debian37CondVar16WaitWithDeadlineEPNS0_5MutexENS0_4TimeE
  _ZN4absl7debian312Notification6NotifyEv
  _ZNK4absl7debian312Notification19WaitForNotificationEv
  _ZNK4absl7debian312Notification30WaitForNotificationWithTimeoutENS0_8DurationE)

add_subdirectory(${CMAKE_CURRENT_LIST_DIR}/tsan ${CMAKE_BINARY_DIR}/tsan)
link_libraries(transmla_tsan)
# A program that calls none of them itself still links libraries of Abseil that do.
add_link_options(-Wl,--undefined=__wrap__ZN4absl7debian35Mutex4LockEv)
foreach(symbol IN LISTS transmla_tsan_symbols)
  add_link_options(-Wl,--wrap=${symbol})
endforeach()
