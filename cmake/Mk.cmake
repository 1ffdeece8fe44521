# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

# What every MLIR-facing target of mk shares.

# Debian's MLIR archives name the shared LLVM library as their link interface. A static LLVM component beside it would bring
# a second copy of LLVM's command line registry ("Option registered more than once"): link MLIR archives and LLVM, nothing else.
# The linker takes from these archives only what is referenced, so the long list costs no size.
get_property(mk_dialect_libs GLOBAL PROPERTY MLIR_DIALECT_LIBS)
get_property(mk_conversion_libs GLOBAL PROPERTY MLIR_CONVERSION_LIBS)
set(MK_MLIR_LIBS ${mk_dialect_libs} ${mk_conversion_libs}
    MLIRIR MLIRParser MLIRPass MLIRTransforms MLIRTransformUtils MLIRAnalysis MLIRSupport MLIRBytecodeReader MLIRBytecodeWriter
    MLIRFuncAllExtensions MLIRTargetLLVMIRExport MLIRBuiltinToLLVMIRTranslation MLIRLLVMToLLVMIRTranslation
    MLIRNVVMToLLVMIRTranslation MLIRGPUToLLVMIRTranslation MLIRX86VectorToLLVMIRTranslation MLIRExecutionEngineUtils)
# MLIR's own test passes register themselves in these lists; other targets' dialects only lengthen the link line.
list(FILTER MK_MLIR_LIBS EXCLUDE REGEX
     "Test|SPIRV|Tosa|ROCDL|AMDGPU|SparseTensor|OpenMP|OpenACC|EmitC|Shape|Quant|Mesh|Arm|AMX|MLProgram|MPI|Polynomial|XeGPU|TransformOps")

# Code that includes MLIR or LLVM headers is compiled as they were.
function(mk_mlir_options target)
  target_compile_options(${target} PRIVATE -fno-exceptions -Wno-comment
    # GCC 12 sees uninitialised reads in LLVM's and MLIR's inline functions where there are none.
    $<$<CXX_COMPILER_ID:GNU>:-Wno-maybe-uninitialized -Wno-dangling-pointer>)
  if(NOT LLVM_ENABLE_RTTI) # Debian's and Ubuntu's LLVM has it
    target_compile_options(${target} PRIVATE -fno-rtti)
  endif()
  if(NOT MK_ASSERTIONS)
    target_compile_definitions(${target} PRIVATE NDEBUG)
  endif()
endfunction()

# One precompiled header for all MLIR-facing libraries; they must share its flags, so they all go through mk_add_library.
function(mk_precompiled_headers)
  if(NOT MK_PCH)
    return()
  endif()
  file(CONFIGURE OUTPUT ${CMAKE_CURRENT_BINARY_DIR}/pch.cpp CONTENT "") # a target needs a source
  add_library(MkPch OBJECT ${CMAKE_CURRENT_BINARY_DIR}/pch.cpp)
  mk_mlir_options(MkPch)
  target_precompile_headers(MkPch PRIVATE ${CMAKE_CURRENT_SOURCE_DIR}/cmake/pch.h)
  # ccache can follow a precompiled header only when GCC notes its use in the preprocessed text.
  if(CMAKE_CXX_COMPILER_ID STREQUAL GNU)
    target_compile_options(MkPch PRIVATE -fpch-preprocess)
  endif()
endfunction()

# mk_add_library(<target> SOURCES ... LINK ...): a static library against MLIR. Without sources yet: an empty one.
function(mk_add_library target)
  cmake_parse_arguments(ARG "" "" "SOURCES;LINK" ${ARGN})
  if(NOT ARG_SOURCES)
    add_library(${target} INTERFACE)
    target_link_libraries(${target} INTERFACE ${ARG_LINK})
    return()
  endif()
  add_library(${target} STATIC ${ARG_SOURCES})
  mk_mlir_options(${target})
  add_dependencies(${target} mk-headers)
  target_link_libraries(${target} PUBLIC ${ARG_LINK} LLVM)
  if(MK_PCH)
    target_precompile_headers(${target} REUSE_FROM MkPch)
    if(CMAKE_CXX_COMPILER_ID STREQUAL GNU)
      target_compile_options(${target} PRIVATE -fpch-preprocess)
    endif()
  endif()
endfunction()

# mk_add_dialect(<Name> DIALECT <mnemonic> TD <Name>Ops.td SOURCES ... [LINK ...])
# Generates <Name>{Dialect,Types,Attrs,Enums,Ops}.{h,cpp}.inc from the one .td, which includes the others, and the page
# dialects/<mnemonic>.md. -gen-enum and -gen-op-interface know no dialect and would repeat what a .td includes from elsewhere:
# they read <Name>Enums.td and <Name>Interfaces.td where these exist.
function(mk_add_dialect name)
  cmake_parse_arguments(ARG "" "DIALECT;TD" "SOURCES;LINK" ${ARGN})
  set(dir ${CMAKE_CURRENT_SOURCE_DIR})
  include_directories(${PROJECT_SOURCE_DIR}/dialects/mk) # the other dialects include its .td files, which include each other by name
  if(EXISTS ${dir}/${ARG_TD})
    set(LLVM_TARGET_DEFINITIONS ${ARG_TD})
    mlir_tablegen(${name}Dialect.h.inc -gen-dialect-decls -dialect=${ARG_DIALECT})
    mlir_tablegen(${name}Dialect.cpp.inc -gen-dialect-defs -dialect=${ARG_DIALECT})
    mlir_tablegen(${name}Types.h.inc -gen-typedef-decls -typedefs-dialect=${ARG_DIALECT})
    mlir_tablegen(${name}Types.cpp.inc -gen-typedef-defs -typedefs-dialect=${ARG_DIALECT})
    mlir_tablegen(${name}Attrs.h.inc -gen-attrdef-decls -attrdefs-dialect=${ARG_DIALECT})
    mlir_tablegen(${name}Attrs.cpp.inc -gen-attrdef-defs -attrdefs-dialect=${ARG_DIALECT})
    mlir_tablegen(${name}Ops.h.inc -gen-op-decls -dialect=${ARG_DIALECT})
    mlir_tablegen(${name}Ops.cpp.inc -gen-op-defs -dialect=${ARG_DIALECT})
    if(EXISTS ${dir}/${name}Enums.td)
      set(LLVM_TARGET_DEFINITIONS ${name}Enums.td)
    endif()
    mlir_tablegen(${name}Enums.h.inc -gen-enum-decls)
    mlir_tablegen(${name}Enums.cpp.inc -gen-enum-defs)
    if(EXISTS ${dir}/${name}Interfaces.td)
      set(LLVM_TARGET_DEFINITIONS ${name}Interfaces.td)
      mlir_tablegen(${name}Interfaces.h.inc -gen-op-interface-decls)
      mlir_tablegen(${name}Interfaces.cpp.inc -gen-op-interface-defs)
    endif()
    add_custom_target(${name}-headers DEPENDS ${TABLEGEN_OUTPUT})
    add_dependencies(mk-headers ${name}-headers)
    set(LLVM_TARGET_DEFINITIONS ${ARG_TD})
    mk_doc(dialects/${ARG_DIALECT}.md -gen-dialect-doc -dialect=${ARG_DIALECT})
  endif()
  mk_add_library(${name}Dialect SOURCES ${ARG_SOURCES} LINK ${ARG_LINK} ${MK_MLIR_LIBS})
endfunction()

# mk_doc(<page> <mlir-tblgen options>): a page of docs/generated, from LLVM_TARGET_DEFINITIONS, below the build tree's doc/.
function(mk_doc page)
  set(TABLEGEN_OUTPUT)
  set(CMAKE_CURRENT_BINARY_DIR ${CMAKE_BINARY_DIR}/doc)
  get_filename_component(folder ${CMAKE_BINARY_DIR}/doc/${page} DIRECTORY)
  file(MAKE_DIRECTORY ${folder})
  mlir_tablegen(${page} ${ARGN})
  string(MAKE_C_IDENTIFIER doc_${page} target)
  add_custom_target(${target} DEPENDS ${TABLEGEN_OUTPUT})
  add_dependencies(doc ${target})
endfunction()
