// eelsvae._processor: what the package imports before its engine. Like this it is compiled for any processor,
// and is an ImportError on one on which the engine could not even be loaded.
#include "kernels/processor.h"

#define PY_SSIZE_T_CLEAN
#include <Python.h>

extern "C" void eelsvae_asks_for_processor() {}

PyMODINIT_FUNC PyInit__processor() {
  if (const char* missing = eelsvae::missing_of_processor()) {
    PyErr_SetString(PyExc_ImportError, missing);
    return nullptr;
  }
  static PyModuleDef module = {PyModuleDef_HEAD_INIT,
                               "_processor",
                               "Whether the processor suffices: it can be imported.",
                               -1,
                               nullptr,
                               nullptr,
                               nullptr,
                               nullptr,
                               nullptr};
  return PyModule_Create(&module);
}
